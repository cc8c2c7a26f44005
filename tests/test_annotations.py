"""Settings name a data set and its files; folders and CSV lists are read in any spelling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.annotation_files import KINETICS_HEAD, TRAIN, VAL, refusal, rows, touch, write

from autox3d.core import settings
from autox3d.datasets import adapters, annotations

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


@pytest.mark.parametrize(
    "path", [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))], ids=lambda p: p.stem
)
def test_shipped_settings_name_the_files_of_their_data_set(path):
    """All that it needs and no other, in each file that may be copied over params.yaml."""
    listing = settings.load(path).annotate

    assert listing.shards == tuple(range(len(listing.shards)))
    if listing.dataset not in annotations.GENERATED:
        adapter = annotations.adapter(listing.dataset)
        known = {*adapter.REQUIRED, *adapter.OPTIONAL}
        assert set(adapter.REQUIRED) <= set(listing.files) <= known


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
