"""Each data set's own files give the same table; a row that cannot be right is refused by line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autox3d.core.errors import Refused
from autox3d.datasets import adapters, annotations
from autox3d.datasets.annotations import Annotations

HEADER = "label,youtube_id,time_start,time_end,split\n"
TRAIN = HEADER + "abseiling,-abcdefghij,12,22,train\nzumba,AAAAAAAAAAA,0,10,train\n"
VAL = HEADER + '"abseiling",BBBBBBBBBBB,3,13,validate\n'


def write(root: Path, **files: str) -> dict[str, str]:
    """Writes files under `root`, and returns the setting `annotate.files` that names them."""
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    return {name: name for name in files}


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"video")


def rows(annotated: Annotations) -> list[tuple[str, str, str | None, str]]:
    return [(video.id, video.path, video.label, video.split) for video in annotated.videos]


def refusal(root: Path, dataset: str, files: dict[str, str], videos: str = "v") -> str:
    with pytest.raises(Refused) as error:
        annotations.read(dataset, root, videos, files)
    return str(error.value).replace(str(root), "raw")


# ---- Kinetics


def test_kinetics_reads_the_official_rows(tmp_path):
    """Labels may be quoted, ids begin with "-", val be `validate`, and test rows lack labels."""
    test = "youtube_id,time_start,time_end,split\nCCCCCCCCCCC,1,11,test\n"
    files = write(tmp_path, train=TRAIN, val=VAL, test=test)

    annotated = annotations.read("kinetics", tmp_path, "v", files)

    assert annotated.classes == ("abseiling", "zumba")
    assert rows(annotated) == [
        ("-abcdefghij_000012_000022", "v/-abcdefghij_000012_000022.mp4", "abseiling", "train"),
        ("AAAAAAAAAAA_000000_000010", "v/AAAAAAAAAAA_000000_000010.mp4", "zumba", "train"),
        ("BBBBBBBBBBB_000003_000013", "v/BBBBBBBBBBB_000003_000013.mp4", "abseiling", "val"),
        ("CCCCCCCCCCC_000001_000011", "v/CCCCCCCCCCC_000001_000011.mp4", None, "test"),
    ]
    assert annotated.videos[0].source == "-abcdefghij"


@pytest.mark.parametrize(
    "folder", ["", "train/", "playing squash/", "playing_squash/", "train/playing_squash/"]
)
def test_kinetics_finds_files_flat_and_in_folders(tmp_path, folder):
    """Copies of Kinetics have various layouts and containers; a video is found in all of them."""
    files = write(tmp_path, train=HEADER + "playing squash,AAAAAAAAAAA,0,10,train\n", val=HEADER)
    touch(tmp_path, f"v/{folder}AAAAAAAAAAA_000000_000010.mkv")

    annotated = annotations.read("kinetics", tmp_path, "v", files)

    assert annotated.videos[0].path == f"v/{folder}AAAAAAAAAAA_000000_000010.mkv"


def test_kinetics_follows_links_to_folders(tmp_path):
    """Large copies are spread over disks; a circle of links is not followed for ever."""
    files = write(tmp_path, train=TRAIN, val=VAL)
    touch(tmp_path, "disk2/AAAAAAAAAAA_000000_000010.mp4")
    (tmp_path / "v").mkdir()
    (tmp_path / "v/zumba").symlink_to(tmp_path / "disk2")
    (tmp_path / "v/round").symlink_to(tmp_path / "v")

    annotated = annotations.read("kinetics", tmp_path, "v", files)

    assert annotated.videos[1].path == "v/zumba/AAAAAAAAAAA_000000_000010.mp4"


def test_kinetics_takes_no_file_from_another_class(tmp_path):
    """A file in the folder of another class is not the video of this row."""
    files = write(tmp_path, train=TRAIN, val=VAL)
    touch(tmp_path, "v/abseiling/AAAAAAAAAAA_000000_000010.mp4")

    annotated = annotations.read("kinetics", tmp_path, "v", files)

    assert annotated.videos[1].path == "v/AAAAAAAAAAA_000000_000010.mp4"


KINETICS_FAULTS = [
    (
        "zumba,#NAME?,0,10,train",
        "line 4: 'youtube_id' must be an id of 11 characters, not '#NAME?'.",
    ),
    ("zumba,DDDDDDDDDDD,0.5,10,train", "line 4: 'time_start' must be whole seconds, not '0.5'."),
    ("zumba,DDDDDDDDDDD,10,10,train", "line 4: 'time_end' 10 is not after 'time_start' 10."),
    (",DDDDDDDDDDD,0,10,train", "line 4: no label. Only videos of split 'test' may lack one."),
    (
        "zumba,DDDDDDDDDDD,0,10,val",
        "line 4: split 'val' in the file of annotate.files.train. "
        "Fix the row, or the file's name in params.yaml.",
    ),
    (
        "a, b,DDDDDDDDDDD,0,10,train",
        "line 4: 6 cells under 5 columns. Quote cells with commas.",
    ),
    (
        "zumba,AAAAAAAAAAA,0,10,train",
        "line 4: video 'AAAAAAAAAAA_000000_000010' is listed twice (first: raw/train line 3). "
        "Delete one of the two.",
    ),
]


@pytest.mark.parametrize(("row", "message"), KINETICS_FAULTS)
def test_kinetics_names_a_wrong_row(tmp_path, row, message):
    """The refusal has the file, the line, the problem and the fix."""
    files = write(tmp_path, train=f"{TRAIN}{row}\n", val=VAL)

    assert refusal(tmp_path, "kinetics", files) == f"raw/train {message}"


def test_a_video_in_two_splits_is_refused(tmp_path):
    """Other seconds of a training video do not count as a held-out video."""
    files = write(tmp_path, train=TRAIN, val=VAL + "zumba,AAAAAAAAAAA,50,60,val\n")

    assert refusal(tmp_path, "kinetics", files) == (
        "raw/val line 3: video 'AAAAAAAAAAA' is in split 'val', and in 'train' too "
        "(raw/train line 3). Delete one of the two."
    )


def test_an_unknown_class_is_refused(tmp_path):
    """A class without a training video is refused, and the closest class is proposed."""
    files = write(tmp_path, train=TRAIN, val=VAL + "abseilling,DDDDDDDDDDD,0,10,val\n")

    assert refusal(tmp_path, "kinetics", files) == (
        "raw/val line 3: unknown class 'abseilling'. Did you mean 'abseiling'?"
    )


def test_a_missing_column_is_refused(tmp_path):
    """The header is checked before any row."""
    files = write(tmp_path, train="label,youtube_id,split\n", val=VAL)

    assert refusal(tmp_path, "kinetics", files) == (
        "raw/train line 1: no column 'time_start'. There are: label, youtube_id, split."
    )


# ---- files and settings


def test_a_missing_annotation_file_is_refused(tmp_path):
    """The refusal says where the file is named."""
    assert refusal(tmp_path, "kinetics", {"train": "train.csv", "val": "val.csv"}) == (
        "raw/train.csv: cannot be read (No such file or directory). "
        "Fix annotate.files in params.yaml: its paths are relative to the data root."
    )


def test_a_file_in_another_encoding_is_refused(tmp_path):
    """Class names with accents would be garbled otherwise."""
    files = write(tmp_path, train=TRAIN, val=VAL)
    (tmp_path / "train").write_bytes(b"label,youtube_id\ncaf\xe9,")

    assert refusal(tmp_path, "kinetics", files) == (
        "raw/train: not UTF-8 text at byte 20. Save it as UTF-8."
    )


def test_a_data_set_takes_the_files_that_it_names(tmp_path):
    """A missing file is refused, and so is one that the data set does not know."""
    assert refusal(tmp_path, "ucf101", {"classes": "classInd.txt", "train": "t"}) == (
        "params.yaml: missing 'annotate.files.test'. Data set ucf101 needs classes, train, test."
    )
    assert refusal(tmp_path, "csv", {"lists": "a.csv"}) == (
        "params.yaml: unknown 'annotate.files.lists'. Known: list."
    )


def test_the_data_sets_are_the_files_of_a_folder(tmp_path, monkeypatch):
    """A new adapter is one new file; no other file has to name it."""
    folder = Path(adapters.__file__).parent
    shipped = sorted([*annotations.GENERATED, *(path.stem for path in folder.glob("[!_]*.py"))])
    assert annotations.names() == shipped
    assert {"csv", "demo", "folder", "kinetics", "somethingv2", "ucf101"} <= set(shipped)
    (tmp_path / "penn_action.py").write_text(
        "from autox3d.datasets.annotations import Annotations, Video\n"
        "REQUIRED, OPTIONAL = ('list',), ()\n"
        "def read(root, videos, files):\n"
        "    names = files['list'].read_text().split()\n"
        "    rows = [Video(n, n, f'{videos}/{n}', 'cat', 'train', n) for n in names]\n"
        "    return Annotations(rows, ('cat',))\n"
    )
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(tmp_path)])

    assert annotations.names() == sorted([*shipped, "penn_action"])
    annotated = annotations.read("penn_action", tmp_path, "v", write(tmp_path, list="a.avi b.avi"))
    assert [video.path for video in annotated.videos] == ["v/a.avi", "v/b.avi"]
    assert refusal(tmp_path, "penn_action", {}) == (
        "params.yaml: missing 'annotate.files.list'. Data set penn_action needs list."
    )


def test_an_unknown_data_set_is_refused(tmp_path, monkeypatch):
    """The refusal lists the known data sets, and proposes the closest one."""
    monkeypatch.setattr(annotations, "names", lambda: ["demo", "folder", "kinetics"])
    assert refusal(tmp_path, "kinetcs", {}) == (
        "params.yaml: 'annotate.dataset' must be one of 'demo', 'folder' or 'kinetics', "
        "not 'kinetcs'. Did you mean 'kinetics'?"
    )
    assert refusal(tmp_path, "../folder", {}).endswith("not '../folder'. Did you mean 'folder'?")


def test_data_sets_are_listed_without_torch():
    """Neither the list nor an adapter imports torch, which takes seconds."""
    code = (
        "import sys; from autox3d.datasets import annotations\n"
        "[annotations.adapter(n) for n in annotations.names() if n not in annotations.GENERATED]\n"
        "assert 'autox3d.datasets.adapters.folder' in sys.modules\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- UCF101

CLASSES = "1 ApplyEyeMakeup\r\n2 YoYo\r\n"


def test_ucf101_reads_the_official_lists(tmp_path):
    """Lists may have the number of the class (train) or lack it (test)."""
    files = write(
        tmp_path,
        classes=CLASSES,
        train="ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nYoYo/v_YoYo_g08_c01.avi 2\n",
        test="YoYo/v_YoYo_g01_c01.avi\n",
    )

    annotated = annotations.read("ucf101", tmp_path, "ucf", files)

    assert annotated.classes == ("ApplyEyeMakeup", "YoYo")
    assert rows(annotated) == [
        (
            "v_ApplyEyeMakeup_g08_c01",
            "ucf/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
            "ApplyEyeMakeup",
            "train",
        ),
        ("v_YoYo_g08_c01", "ucf/YoYo/v_YoYo_g08_c01.avi", "YoYo", "train"),
        ("v_YoYo_g01_c01", "ucf/YoYo/v_YoYo_g01_c01.avi", "YoYo", "test"),
    ]


UCF101_FAULTS = [
    ("YoYo/a.avi 1", "raw/train line 1: class 'YoYo', but number 1 is ApplyEyeMakeup."),
    ("YoYo/a.avi 9", "raw/train line 1: class 'YoYo', but number 9 is no class."),
    ("Yoyo/a.avi 2", "raw/train line 1: unknown class 'Yoyo'. Did you mean 'YoYo'?"),
    (
        "../YoYo/a.avi 2",
        "raw/train line 1: path '../YoYo/a.avi' is not a path below the folder of the videos.",
    ),
]


@pytest.mark.parametrize(("row", "message"), UCF101_FAULTS)
def test_ucf101_checks_the_number_against_the_folder(tmp_path, row, message):
    """A list that numbers the classes in another order would shift every label."""
    files = write(tmp_path, classes=CLASSES, train=row, test="YoYo/b.avi")

    assert refusal(tmp_path, "ucf101", files) == message


# ---- Something-Something


def something(
    root: Path, train: list[dict[str, str]], test: list[dict[str, str]]
) -> dict[str, str]:
    labels = {"Holding something": "0", "Moving something up": "1"}
    lists = {"labels": labels, "train": train, "val": [], "test": test}
    return write(root, **{name: json.dumps(content) for name, content in lists.items()})


def test_somethingv2_reads_the_official_lists(tmp_path):
    """The class is the template without its brackets; test entries are bare ids."""
    entry = {"id": "74225", "label": "moving a pen up", "template": "Moving [something] up"}
    files = something(tmp_path, [entry], [{"id": "1420"}])

    annotated = annotations.read("somethingv2", tmp_path, "ssv2", files)

    assert annotated.classes == ("Holding something", "Moving something up")
    assert rows(annotated) == [
        ("74225", "ssv2/74225.webm", "Moving something up", "train"),
        ("1420", "ssv2/1420.webm", None, "test"),
    ]


def test_somethingv2_names_a_wrong_entry(tmp_path):
    """The refusal has the file and the number of the entry, or the line where JSON is broken."""
    good = {"id": "1", "template": "Holding [something]"}
    files = something(tmp_path, [good, {"id": "2", "template": "Holding [something] up"}], [])
    assert refusal(tmp_path, "somethingv2", files) == (
        "raw/train entry 2: unknown class 'Holding something up'. Did you mean 'Holding something'?"
    )
    files = something(tmp_path, [good, {"template": "Holding [something]"}], [])
    assert refusal(tmp_path, "somethingv2", files) == (
        "raw/train entry 2: no 'id'. Each entry is a table with id and template."
    )
    (tmp_path / "train").write_text('[{"id": "1",\n]')
    assert refusal(tmp_path, "somethingv2", files).startswith("raw/train line 2: not JSON:")


# ---- a folder, a CSV


def test_folders_are_classes(tmp_path):
    """SPLIT/CLASS/.../VIDEO is read, and unlabelled videos in test; hidden files are not."""
    touch(
        tmp_path, "v/train/b c/x.mp4", "v/train/a/sub/y.avi", "v/val/a/z.webm", "v/test/q.mp4",
        "v/train/a/.DS_Store",
    )  # fmt: skip

    annotated = annotations.read("folder", tmp_path, "v", {})

    assert annotated.classes == ("a", "b c")
    assert rows(annotated) == [
        ("train/a/sub/y.avi", "v/train/a/sub/y.avi", "a", "train"),
        ("train/b c/x.mp4", "v/train/b c/x.mp4", "b c", "train"),
        ("val/a/z.webm", "v/val/a/z.webm", "a", "val"),
        ("test/q.mp4", "v/test/q.mp4", None, "test"),
    ]


def test_a_folder_in_another_shape_is_refused(tmp_path):
    """So are a video outside any class, a class of val alone, and a link to a folder."""
    touch(tmp_path, "v/a/x.mp4")
    assert refusal(tmp_path, "folder", {}) == (
        "raw/v: no folder 'train'. Put the videos into v/SPLIT/CLASS/."
    )
    touch(tmp_path, "w/train/x.mp4")
    assert refusal(tmp_path, "folder", {}, "w") == (
        "raw/w/train/x.mp4: in no class folder. Move it to raw/w/train/CLASS/."
    )
    touch(tmp_path, "u/train/a/x.mp4", "u/val/cat/y.mp4")
    assert refusal(tmp_path, "folder", {}, "u") == (
        "raw/u/val/cat/y.mp4: unknown class 'cat'. No training video has it. Fix the row."
    )
    (tmp_path / "u/train/b").symlink_to(tmp_path / "v/a")
    assert refusal(tmp_path, "folder", {}, "u") == (
        "raw/u/train/b: a link to a folder. Put the folder there."
    )


def test_a_name_in_another_encoding_is_refused(tmp_path):
    """No table can store such a name; the refusal shows its bytes."""
    touch(tmp_path, "v/train/a/x.mp4", "v/train/a/caf\udce9.mp4")

    assert refusal(tmp_path, "folder", {}) == (
        "'v/train/a/caf\\udce9.mp4': a name that is not UTF-8. Rename the file."
    )


def test_a_csv_lists_paths(tmp_path):
    """The byte order mark that spreadsheets write is not part of the first column's name."""
    text = '\ufeffpath,label,split\n./a/x.mp4,cat,train\n"b, c.mp4",cat,val\nd.mp4,,test\n'
    annotated = annotations.read("csv", tmp_path, "v", write(tmp_path, list=text))

    assert rows(annotated) == [
        ("a/x.mp4", "v/a/x.mp4", "cat", "train"),
        ("b, c.mp4", "v/b, c.mp4", "cat", "val"),
        ("d.mp4", "v/d.mp4", None, "test"),
    ]


CSV_FAULTS = [
    ("x.mp4,cat,training", "unknown split 'training'. Known: train, val, test."),
    ("/etc/passwd,cat,train", "path '/etc/passwd' is not a path below the folder of the videos."),
    (",cat,train", "path '' is not a path below the folder of the videos."),
    ("y.mp4,dog,val", "unknown class 'dog'. No training video has it. Fix the row."),
]


@pytest.mark.parametrize(("row", "message"), CSV_FAULTS)
def test_a_csv_names_a_wrong_row(tmp_path, row, message):
    """The refusal has the file and the line."""
    files = write(tmp_path, list=f"path,label,split\nz.mp4,cat,train\n{row}\n")

    assert refusal(tmp_path, "csv", files) == f"raw/list line 3: {message}"


# ---- names whose accents are written in two ways

NFC, NFD = "caf\u00e9", "cafe\u0301"  # one word: with a composed letter, and with an accent apart
KINETICS_HEAD = "label,youtube_id,time_start,time_end,split"


def spelt_in_two_ways(root: Path, dataset: str) -> dict[str, str]:
    """A data set with two training videos and one held out of one class; its files."""
    ids = ["aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"]
    if dataset == "folder":
        touch(root, f"v/train/{NFC}/1.mp4", f"v/train/{NFD}/2.mp4", f"v/val/{NFD}/3.mp4")
        return {}
    if dataset == "csv":
        rows = f"1.mp4,{NFC},train\n2.mp4,{NFD},train\n3.mp4,{NFD},val\n"
        return write(root, list=f"path,label,split\n{rows}")
    if dataset == "kinetics":
        touch(root, f"v/train/{NFD}/{ids[1]}_000001_000011.mp4")
        train = f"{NFC},{ids[0]},1,11,train\n{NFC},{ids[1]},1,11,train\n"
        val = f"{NFD},{ids[2]},1,11,val\n"
        return write(root, train=f"{KINETICS_HEAD}\n{train}", val=f"{KINETICS_HEAD}\n{val}")
    if dataset == "ucf101":
        train = f"{NFC}/1.avi 1\n{NFD}/2.avi 1\n"
        return write(root, classes=f"1 {NFC}\n", train=train, test=f"{NFD}/3.avi\n")
    train = f'[{{"id": "1", "template": "{NFC}"}}, {{"id": "2", "template": "{NFD}"}}]'
    val = f'[{{"id": "3", "template": "{NFD}"}}]'
    return write(root, labels=f'{{"{NFC}": "0"}}', train=train, val=val)


@pytest.mark.parametrize("dataset", ["csv", "folder", "kinetics", "somethingv2", "ucf101"])
def test_an_accent_in_two_spellings_is_one_class(tmp_path, dataset):
    """macOS writes it apart. The paths stay as they are, since a file has one name only."""
    annotated = annotations.read(dataset, tmp_path, "v", spelt_in_two_ways(tmp_path, dataset))

    assert annotated.classes == (NFC,)
    assert [video.label for video in annotated.videos] == [NFC] * 3
    if dataset == "folder":
        assert sorted(video.path for video in annotated.videos) == sorted(
            [f"v/train/{NFC}/1.mp4", f"v/train/{NFD}/2.mp4", f"v/val/{NFD}/3.mp4"]
        )
    if dataset == "kinetics":
        assert annotated.videos[1].path == f"v/train/{NFD}/bbbbbbbbbbb_000001_000011.mp4"


def test_kinetics_finds_files_in_capitals(tmp_path):
    """Recordings come as .MP4, too."""
    touch(tmp_path, "v/aaaaaaaaaaa_000001_000011.MP4", "v/._aaaaaaaaaaa_000001_000011.mp4")
    rows = "cat,aaaaaaaaaaa,1,11,train\n"
    files = write(tmp_path, train=f"{KINETICS_HEAD}\n{rows}", val=f"{KINETICS_HEAD}\n")

    (found,) = annotations.read("kinetics", tmp_path, "v", files).videos

    assert found.path == "v/aaaaaaaaaaa_000001_000011.MP4"
