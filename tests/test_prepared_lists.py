"""Data sets in their official layout, and lists prepared for other tools, are read as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pandas as pd
import pytest
import yaml
from support import ROOT, corpus, programs

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.core.tables import read_classes, read_table
from autox3d.datasets import annotations
from autox3d.datasets.annotations import Annotations
from autox3d.ingest import source

PAGE = (ROOT / "docs/DATA_SETS.md").read_text()


def put(root: Path, **content: str) -> dict[str, str]:
    """Writes annotation files; name -> name, as `annotate.files` has them."""
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return {name: name for name in content}


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def rows(annotated: Annotations) -> list[tuple[str, str | None, str]]:
    """Path, label and split of each video."""
    return [(video.path, video.label, video.split) for video in annotated.videos]


def refusal(root: Path, dataset: str, files: dict[str, str]) -> str:
    """The line, with the folder of the test taken out."""
    with pytest.raises(Refused) as caught:
        annotations.read(dataset, root, "v", files)
    return str(caught.value).replace(f"{root}/", "")


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


def test_the_page_makes_videos_of_jester(tmp_path):
    """The commands of docs/DATA_SETS.md, on two clips of odd sizes."""
    (block,) = [part for part in re.findall(r"(?s)```sh\n(.*?)```", PAGE) if "jester" in part]
    picture = ("-f", "lavfi", "-i", "testsrc=s=65x49:r=12")
    for name in ("1", "20"):
        (tmp_path / "20bn-jester-v1" / name).mkdir(parents=True)
        corpus.ffmpeg(*picture, seconds=1, to=tmp_path / "20bn-jester-v1" / name / "%05d.jpg")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    subprocess.run(["bash", "-ec", block], cwd=tmp_path, env={"PATH": path}, check=True)

    for name in ("1", "20"):
        found = source.probe(tmp_path / f"jester/{name}.mp4")
        assert (found.width, found.seconds, found.rate) == (65, 1, 12)


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


# ---- lists with class numbers: MMAction2, SlowFast


def test_mmaction2_reads_a_list_of_videos(tmp_path):
    """That of its documentation; without a class list, the numbers in their order."""
    text = "".join(f"some/path/00{n}.mp4 {label}\n" for n, label in enumerate([1, 1, 2, 2, 10, 10]))
    files = put(
        tmp_path, train=text, val="some/path/x y.mp4 2\n", test="t.mp4\nu.mp4 -1\nw.mp4 1\n"
    )

    annotated = annotations.read("mmaction2", tmp_path, "v", files)

    assert annotated.classes == ("01", "02", "10")
    assert rows(annotated) == [
        ("v/some/path/000.mp4", "01", "train"),
        ("v/some/path/001.mp4", "01", "train"),
        ("v/some/path/002.mp4", "02", "train"),
        ("v/some/path/003.mp4", "02", "train"),
        ("v/some/path/004.mp4", "10", "train"),
        ("v/some/path/005.mp4", "10", "train"),
        ("v/some/path/x y.mp4", "02", "val"),
        ("v/t.mp4", None, "test"),
        ("v/u.mp4", None, "test"),
        ("v/w.mp4", "01", "test"),
    ]


def test_mmaction2_takes_a_label_map_and_a_folder_a_split(tmp_path):
    """As tools/data/kinetics lays them out: videos_train, videos_val, label_map_k400.txt."""
    touch(tmp_path, "v/videos_train/abseiling/a.mp4", "v/videos_val/b.mp4")
    files = put(
        tmp_path,
        classes="abseiling\nair drumming\n",
        train="abseiling/a.mp4 0\nair_drumming/c.mp4 1\n",
        val="b.mp4 1\n",
        test="t.mp4 0\n",
    )

    annotated = annotations.read("mmaction2", tmp_path, "v", files)

    assert annotated.classes == ("abseiling", "air drumming")
    assert rows(annotated) == [
        ("v/videos_train/abseiling/a.mp4", "abseiling", "train"),
        ("v/videos_train/air_drumming/c.mp4", "air drumming", "train"),
        ("v/videos_val/b.mp4", "air drumming", "val"),
        ("v/t.mp4", "abseiling", "test"),
    ]


@pytest.mark.parametrize("separator", [" ", ",", ", ", "\t"])
@pytest.mark.parametrize("absolute", [False, True])
def test_slowfast_reads_its_lists(tmp_path, separator, absolute):
    """With a blank or the comma of DATA.PATH_LABEL_SEPARATOR; absolute paths below the videos."""
    start = f"{tmp_path}/v/" if absolute else ""
    train = [f"{start}a, b c/1.mp4{separator}0", f"{start}2.mp4{separator}1"]
    files = put(
        tmp_path,
        train="\n".join(train),
        val=f"{start}3.mp4{separator}1\n",
        **{"names.json": '{"\\"air drumming\\"": 1, "abseiling": 0}'},
    )
    files["classes"] = files.pop("names.json")

    annotated = annotations.read("slowfast", tmp_path, "v", files)

    assert annotated.classes == ("abseiling", "air drumming")
    assert rows(annotated) == [
        ("v/a, b c/1.mp4", "abseiling", "train"),
        ("v/2.mp4", "air drumming", "train"),
        ("v/3.mp4", "air drumming", "val"),
    ]


FAULTS = [
    (
        "some/directory-1 163 1",
        "a list of frames, and only videos are read. Give a list of videos.",
    ),
    ("some/dir 2 10 163 1", "a list of frames, and only videos are read. Give a list of videos."),
    ("a.mp4 1 3 5", "several numbers after the video. Only one class each is read."),
    ("a.mp4", "'a.mp4' is not PATH LABEL, with the class as a number."),
    ("a.mp4 walk", "'a.mp4 walk' is not PATH LABEL, with the class as a number."),
    ("path label", "'path label' is not PATH LABEL, with the class as a number."),
    ("a.mp4 2", "class 2 is none of the classes 0 to 1 of classes. The first class is number 0."),
    ("a.mp4 -1", "class -1 is none of the classes 0 to 1 of classes. The first class is number 0."),
    ("/data/a.mp4 1", "path '/data/a.mp4' is not a path below the folder of the videos."),
    ("../a.mp4 1", "path '../a.mp4' is not a path below the folder of the videos."),
    ("b.mp4 1", "video 'b.mp4' is listed twice (first: train line 1). Delete one of the two."),
]


@pytest.mark.parametrize("dataset", ["mmaction2", "slowfast"])
@pytest.mark.parametrize(("row", "message"), FAULTS)
def test_a_list_with_numbers_names_a_wrong_row(tmp_path, dataset, row, message):
    """In one line, with its file and line."""
    files = put(tmp_path, classes="run\nwalk\n", train=f"b.mp4 0\n{row}\n")

    assert refusal(tmp_path, dataset, files) == f"train line 2: {message}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "names",
            "run\nrun\n",
            "names line 2: class 'run' or its number 1 is there twice, or none.",
        ),
        ("names", "\n", "names: no class in it. Is it the right file?"),
        ("n.json", '{"a": "0"}', "n.json: class 'a' or its number 0 is there twice, or none."),
        (
            "n.json",
            '{"a": 0, "b": 0}',
            "n.json: class 'b' or its number 0 is there twice, or none.",
        ),
    ],
)
def test_a_class_list_that_cannot_be_right_is_refused(tmp_path, name, content, message):
    put(tmp_path, **{name: content})
    files = put(tmp_path, train="a.mp4 0\n") | {"classes": name}

    assert refusal(tmp_path, "slowfast", files) == message


# ---- docs/DATA_SETS.md


def test_the_page_lists_the_data_sets():
    """Each in its table, and no other one."""
    listed = re.findall(r"(?m)^\| `(\w+)` \|", PAGE)

    assert sorted([*listed, *annotations.GENERATED]) == annotations.names()


@pytest.mark.parametrize("block", re.findall(r"(?s)```yaml\n(.*?)```", PAGE))
def test_the_settings_of_the_page_are_complete(block, tmp_path):
    """In place of the first lines of `annotate` they are right, up to the files themselves."""
    content = yaml.safe_load((ROOT / "params/folder.yaml").read_text())
    content["annotate"] |= yaml.safe_load(block)["annotate"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))

    asked = settings.load(tmp_path / "params.yaml").annotate
    line = refusal(tmp_path, asked.dataset, dict(asked.files))

    assert "annotate.files" in line
    assert any(f"{path}: " in line for path in asked.files.values()), line
