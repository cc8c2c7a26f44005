"""HMDB51, Jester and Diving48 are read in their official layout; a wrong row is refused by line."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from support import ROOT, corpus, programs
from support.annotation_files import touch
from support.lists import put, refusal, rows

from autox3d.core.tables import read_classes, read_table
from autox3d.datasets import annotations
from autox3d.ingest import source

# ---- HMDB51

SPLITS = "testTrainMulti_7030_splits"


def hmdb51(root: Path) -> None:
    """Two classes of three splits; each line ends in a blank, as in the archive."""
    for number in (1, 2, 3):
        brush = {1: "1", 2: "2", 3: "0"}[number]
        ride = "#437_How_To_Ride_A_Bike_ride_bike_f_cm_np1_ba_med_0.avi"
        touch(root, f"v/ride_bike/{ride}")
        put(
            root,
            **{
                f"{SPLITS}/brush_hair_test_split{number}.txt": (
                    f"April_09_brush_hair_u_nm_np1_ba_goo_0.avi {brush} \r\n"
                    "Aussie_Brunette_Brushing_Hair_II_brush_hair_u_nm_np1_ri_med_3.avi 1 \r\n"
                ),
                f"{SPLITS}/ride_bike_test_split{number}.txt": (
                    f"{ride} 1 \nlance_A&B;C_ride_bike_f_cm_np1_ri_med_1.avi 2 \n"
                ),
            },
        )


@pytest.mark.parametrize(("number", "first"), [(1, "train"), (2, "test"), (3, None)])
def test_hmdb51_reads_each_of_its_three_splits(tmp_path, number, first):
    """1 is training, 2 is test, 0 is neither; the class is in the name of the file."""
    hmdb51(tmp_path)

    annotated = annotations.read("hmdb51", tmp_path, "v", {f"split{number}": SPLITS})

    assert annotated.classes == ("brush_hair", "ride_bike")
    april = ("v/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair", first)
    aussie = "v/brush_hair/Aussie_Brunette_Brushing_Hair_II_brush_hair_u_nm_np1_ri_med_3.avi"
    bike = "v/ride_bike/#437_How_To_Ride_A_Bike_ride_bike_f_cm_np1_ba_med_0.avi"
    assert rows(annotated) == [
        *([april] if first else []),
        (aussie, "brush_hair", "train"),
        (bike, "ride_bike", "train"),
        ("v/ride_bike/lance_A&B;C_ride_bike_f_cm_np1_ri_med_1.avi", "ride_bike", "test"),
    ]


def test_hmdb51_refuses_other_files_and_lines(tmp_path):
    """Two splits at once, a folder without lists, a line of another form."""
    hmdb51(tmp_path)
    one_of = (
        "params.yaml: 'annotate.files' must have just one of split1, split2, split3, with the "
        "folder of HMDB51's split files."
    )
    assert refusal(tmp_path, "hmdb51", {}) == one_of
    assert refusal(tmp_path, "hmdb51", {"split1": SPLITS, "split2": SPLITS}) == one_of
    assert refusal(tmp_path, "hmdb51", {"split1": "v"}) == (
        "v: no file CLASS_test_split1.txt in it. Fix annotate.files.split1."
    )
    put(tmp_path, **{f"{SPLITS}/ride_bike_test_split1.txt": "a.avi 1\nb.avi 3\n"})
    assert refusal(tmp_path, "hmdb51", {"split1": SPLITS}) == (
        f"{SPLITS}/ride_bike_test_split1.txt line 2: 'b.avi 3' is not VIDEO.avi and 0, 1 or 2."
    )


def test_hmdb51_is_listed_by_the_stage(tmp_path):
    """From its own lists and real XviD files to the tables that `transcode` reads."""
    hmdb51(tmp_path / "raw")
    for video in annotations.read("hmdb51", tmp_path / "raw", "v", {"split1": SPLITS}).videos[:3]:
        (tmp_path / "raw" / video.path).parent.mkdir(parents=True, exist_ok=True)
        picture = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=30")
        options = ("-c:v", "libxvid", "-bf", "2")
        corpus.ffmpeg(*picture, *options, seconds=0.2, to=tmp_path / "raw" / video.path)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["annotate"] |= {"dataset": "hmdb51", "videos": "v", "files": {"split1": SPLITS}}
    content["subset"]["classes"] = 2
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    words = ["-m", "autox3d.stages.annotate", "--videos", "videos.parquet", "--lists", "lists"]
    environment = {"AUTOX3D_RAW": "raw", "PYTHONPATH": str(Path(annotations.__file__).parents[2])}
    done = programs.run("data", [sys.executable, *words], tmp_path, environment)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "4 videos of 2 classes, 3 of them on disk\n1 missing: v/ride_bike/"
    )
    table = read_table(tmp_path / "videos.parquet")
    assert read_classes(tmp_path / "videos.parquet") == ("brush_hair", "ride_bike")
    assert table["split"].value_counts().to_dict() == {"train": 3, "test": 1}
    lists = pd.concat([read_table(path) for path in (tmp_path / "lists").iterdir()])
    assert len(lists) == 3


# ---- Jester

JESTER = {
    "labels": "Swiping Left\nDrumming Fingers\nNo gesture\n",
    "train": "34870;Drumming Fingers\n56557;Swiping Left\r\n129112;No gesture\n",
    "val": "9223;Swiping Left\n",
    "test": "24517\n96450;\n",
}


def test_jester_reads_its_lists(tmp_path):
    """The official rows; a video has the suffix that is on disk, or .mp4."""
    touch(tmp_path, "v/34870.webm", "v/9223.MP4", "v/._56557.webm")

    annotated = annotations.read("jester", tmp_path, "v", put(tmp_path, **JESTER))

    assert annotated.classes == ("Drumming Fingers", "No gesture", "Swiping Left")
    assert rows(annotated) == [
        ("v/34870.webm", "Drumming Fingers", "train"),
        ("v/56557.mp4", "Swiping Left", "train"),
        ("v/129112.mp4", "No gesture", "train"),
        ("v/9223.MP4", "Swiping Left", "val"),
        ("v/24517.mp4", None, "test"),
        ("v/96450.mp4", None, "test"),
    ]


def test_jester_says_what_to_do_with_its_frames(tmp_path):
    """It is published as folders of pictures; the command that the line names makes a video."""
    files = put(tmp_path, **JESTER)
    (tmp_path / "v/34870").mkdir(parents=True)
    picture = ("-f", "lavfi", "-i", "testsrc=s=65x49:r=12")
    corpus.ffmpeg(*picture, seconds=1, to=tmp_path / "v/34870/%05d.jpg")

    assert refusal(tmp_path, "jester", files) == (
        "v/34870: frames, and videos are read. Make one of each clip: ffmpeg -framerate 12 "
        "-i v/34870/%05d.jpg -pix_fmt yuv444p v/34870.mp4"
    )
    frames = ("-framerate", "12", "-i", tmp_path / "v/34870/%05d.jpg", "-pix_fmt", "yuv444p")
    corpus.ffmpeg(*frames, tmp_path / "v/34870.mp4")
    assert rows(annotations.read("jester", tmp_path, "v", files))[0][0] == "v/34870.mp4"
    assert source.probe(tmp_path / "v/34870.mp4").width == 65


@pytest.mark.parametrize("row", ["34870,Drumming Fingers", "a;Swiping Left", "34870", "34870;"])
def test_jester_names_a_wrong_row(tmp_path, row):
    files = put(tmp_path, **JESTER | {"val": f"1;No gesture\n{row}\n"})

    assert refusal(tmp_path, "jester", files) == (
        f"val line 2: '{row}' is not ID;LABEL, like '34870;Drumming Fingers'."
    )


# ---- Diving48

DIVES = '[["Back", "15som", "05Twis", "FREE"], ["Inward", "Dive", "NoTwis", "PIKE"]]'


def dive(name: str, label: int) -> str:
    return f'{{"vid_name": "{name}", "label": {label}, "start_frame": 0, "end_frame": 98}}'


def test_diving48_reads_its_lists(tmp_path):
    """A class is the four parts of its dive; ids may begin with a hyphen."""
    train = f"[{dive('-mmq0PT-u8k_00155', 1)}, {dive('_8Vy3dlHg2w_00000', 0)}]"
    files = put(tmp_path, classes=DIVES, train=train, test=f"[{dive('2x00lRzlTVQ_00001', 1)}]")

    annotated = annotations.read("diving48", tmp_path, "v", files)

    assert annotated.classes == ("Back_15som_05Twis_FREE", "Inward_Dive_NoTwis_PIKE")
    assert rows(annotated) == [
        ("v/-mmq0PT-u8k_00155.mp4", "Inward_Dive_NoTwis_PIKE", "train"),
        ("v/_8Vy3dlHg2w_00000.mp4", "Back_15som_05Twis_FREE", "train"),
        ("v/2x00lRzlTVQ_00001.mp4", "Inward_Dive_NoTwis_PIKE", "test"),
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (dive("a", 2), "label 2 is none of the 2 dives."),
        ('{"vid_name": "a"}', "label None is none of the 2 dives."),
        ('{"label": 1}', "no 'vid_name'. Each entry has vid_name and label."),
        ("3", "no 'vid_name'. Each entry has vid_name and label."),
    ],
)
def test_diving48_names_a_wrong_entry(tmp_path, entry, message):
    files = put(tmp_path, classes=DIVES, train=f"[{dive('b', 0)}, {entry}]", test="[]")

    assert refusal(tmp_path, "diving48", files) == f"train entry 2: {message}"
