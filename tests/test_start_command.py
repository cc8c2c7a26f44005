"""The commands start and finetune as they are typed: bad input is one line, which says what to do.

Nothing is written before everything is known to be good.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import ROOT, corpus
from support.rates import RATES

from autox3d import cli
from autox3d.core.errors import Refused
from autox3d.core.settings import load
from autox3d.planning import rates

CLASSES = ("Öl gießen", "b c")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight real videos that differ."""
    folder = tmp_path_factory.mktemp("kept")
    for number in range(8):
        source = f"life=s=64x48:r=15:seed={number + 1}:ratio=0.4"
        corpus.ffmpeg(
            "-f", "lavfi", "-i", source, *corpus.H264, seconds=1, to=folder / f"{number}.mp4"
        )
    return folder


@pytest.fixture
def clips(kept: Path, tmp_path: Path) -> Path:
    """Two classes of four videos; blanks and umlauts in their names."""
    top = tmp_path / "my clips"
    for number in range(8):
        path = top / CLASSES[number % 2] / f"Rührei {number}x.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kept / f"{number}.mp4", path)
    return top


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone, as far as these commands look; measuring takes no time."""
    root = tmp_path / "lab/clone"
    (root / "results").mkdir(parents=True)
    (root / "data").mkdir()
    for name in ("dvc.yaml", "params.yaml", "params/folder.yaml"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    monkeypatch.chdir(root)
    monkeypatch.delenv("AUTOX3D_RAW", raising=False)
    monkeypatch.setattr(rates, "measure", lambda *_: RATES)
    return root


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def typed(*words: object) -> None:
    args = cli.parser().parse_args([str(word) for word in words])
    args.command(args)


FOLDERS = "Make a folder for each class, and put its videos into it."
WRONG = {
    "start {t}/gone": "{t}/gone: there is no such folder. Give the folder with your class folders.",
    "start {t}/empty": f"{{t}}/empty: no videos in class folders. {FOLDERS}",
    "start {t}/one": f"{{t}}/one: one class only, 'a'. {FOLDERS}",
    "start {t}/1.mp4": "{t}/1.mp4: neither a folder nor a CSV file. Give the folder with your "
    "class folders.",
    "start /dev/null": "/dev/null: neither a folder nor a CSV file. Give the folder with your "
    "class folders.",
    "start {t}/other.csv": "{t}/other.csv line 1: no column 'path'. There are: hello.",
    "start {t}/head.csv": "{t}/head.csv: no videos in it. Give each video a row with its path "
    "and label.",
    "start {t}/alone.csv": "{t}/alone.csv: one class only, 'a'. Give each video a row with its "
    "path and label.",
    "start {t}/twice.csv": "{t}/twice.csv line 3: '1.mp4' is in line 2 already. Take one row out.",
    "start {t}/half.csv": "{t}/half.csv line 3: some videos have a split, others have none. Give "
    "all one, or none.",
    "start {t}/split.csv": "{t}/split.csv line 2: unknown split 'trian'. Known: train, val, test.",
    "start {t}/up.csv": "{t}/up.csv line 2: path '../1.mp4' is not a path below the folder of the "
    "videos.",
    "start {t}/lost.csv": "{t}/lost.csv line 2: there is no file {t}/lost.mp4. Fix the path.",
    "start {t}/train.csv": "{t}/train.csv: all videos are in split 'train'. Put some into 'val'.",
    "start {t}/val.csv": "{t}/val.csv: no training video of class 'b'. Add one to 'train'.",
    "start {t}/text": "{t}/text/a/1.mp4: no video container (Invalid data found when processing "
    "input). None of 4 videos can be read: give other files.",
    "start .": ".: this clone is in it. Give the folder of your class folders.",
    "start ..": "..: this clone is in it. Give the folder of your class folders.",
    "start data": "data: is where stages write. Give the folder of your class folders.",
    "start results": "results: is where stages write. Give the folder of your class folders.",
    "start {t}/text --task pose": "--task pose: only classify, multilabel and detect are "
    "known here. Leave --task out.",
    "start {t}/text --task detect": "--task detect: {t}/text has a folder for each class, so one "
    "label a video. Give a CSV file with path and boxes.",
    "start {t}/boxes.csv --budget 1": "--budget: a search does not ask about boxes. Leave it out.",
    "start {t}/pixels.csv": "{t}/pixels.csv line 2: corner 320 is over 1. Divide x by the width of "
    "the film in px, and y by its height.",
    "start {t}/torn.csv": "{t}/torn.csv line 3: '1.mp4' has two splits. Give all its rows one "
    "split.",
    "finetune {t}/gone {t}/text": "{t}/gone: no folder of weights: it has no weights.safetensors. "
    "Give one that a training wrote, such as data/weights/x3d, or `autox3d import-weights`.",
    "finetune x3d_s {t}/text": "x3d_s: no folder of weights: it has no weights.safetensors. Give "
    "one that a training wrote, such as data/weights/x3d, or `autox3d import-weights`.",
}
BOX = "path,second,x1,y1,x2,y2,label,split\n"
LISTS = {
    "boxes": f"{BOX}1.mp4,0.2,0,0,0.5,1,a,train\n2.mp4,0.2,0,0,0.5,1,b,val\n",
    "pixels": f"{BOX}1.mp4,0.2,10,20,320,240,a,train\n",
    "torn": f"{BOX}1.mp4,0.2,0,0,0.5,1,a,train\n1.mp4,0.5,0,0,0.5,1,b,val\n",
    "other": "hello\n",
    "head": "path,label\n",
    "alone": "path,label\n1.mp4,a\n",
    "twice": "path,label\n1.mp4,a\n1.mp4,b\n",
    "half": "path,label,split\n1.mp4,a,train\n2.mp4,b,\n",
    "split": "path,label,split\n1.mp4,a,trian\n",
    "up": "path,label\n../1.mp4,a\n",
    "lost": "path,label\nlost.mp4,a\n",
    "train": "path,label,split\n1.mp4,a,train\n2.mp4,b,train\n",
    "val": "path,label,split\n1.mp4,a,train\n2.mp4,b,val\n",
}


@pytest.fixture
def bad(tmp_path: Path, kept: Path) -> Path:
    """Folders and lists, each with one fault."""
    top = tmp_path / "bad"
    for path in ("one/a/1.mp4", "text/a/1.mp4", "text/a/2.mp4", "text/b/1.mp4", "text/b/2.mp4"):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    (top / "empty").mkdir()
    for name in ("1.mp4", "2.mp4"):
        shutil.copy(kept / name, top / name)
    for name, text in LISTS.items():
        (top / f"{name}.csv").write_text(text)
    return top


@pytest.mark.parametrize("command", WRONG)
def test_bad_input_is_one_line_and_nothing_is_written(place: Path, bad: Path, command: str) -> None:
    """Word for word: what is wrong, and what to do."""
    before = files(place)

    with pytest.raises(Refused) as caught:
        typed(*command.format(t=bad).split())

    assert str(caught.value) == WRONG[command].format(t=bad)
    assert files(place) == before
    assert not (place / "data/raw").is_symlink()


@pytest.mark.parametrize("word", ["0", "-1", "nan", "inf", "ten"])
def test_minutes_are_a_number_above_zero(
    bad: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    """Status 2, as for any wrong argument."""
    with pytest.raises(SystemExit) as caught:
        typed("start", bad, f"--minutes={word}")
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"autox3d start: error: argument --minutes: must be a number greater than 0, not '{word}'"
    )


def test_an_unreadable_folder_is_one_line(place: Path, bad: Path) -> None:
    """The program runs as a user without root's rights; the status is 1."""
    (bad / "text/b").chmod(0o000)
    user = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root, and no setpriv to drop its rights")
        user = ["setpriv", "--reuid", "65534", "--clear-groups"]
        for folder in place.parents[:-2]:
            folder.chmod(0o755)
    program = "from autox3d.cli import main; main()"
    command = [*user, sys.executable, "-B", "-c", program, "start", str(bad / "text")]
    done = subprocess.run(command, capture_output=True, text=True)
    (bad / "text/b").chmod(0o755)

    name = "nobody" if user else os.environ.get("USER", "")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"{bad}/text/b: permission denied. Make it accessible to user {name}"
    )
    assert len(done.stderr.splitlines()) == 1


def rows(place: Path) -> Sequence[dict[str, str]]:
    with next(place.glob("params/own*.csv")).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_names_with_blanks_and_umlauts_are_kept(
    place: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the list and in what is printed; the settings written are complete and good."""
    typed("start", clips)

    shown = capsys.readouterr().out
    assert "8 videos of 2 classes: b c 4, Öl gießen 4" in shown
    assert "    dvc repro page@x3d" in shown
    assert sorted(row["path"] for row in rows(place)) == sorted(
        path.relative_to(clips).as_posix() for path in clips.rglob("*.mp4")
    )
    assert {row["label"] for row in rows(place) if row["split"] == "val"} == set(CLASSES)
    assert load(place / "params.yaml").pages["x3d"].title == "x3d on my clips"


def test_a_list_of_boxes_has_settings_of_its_own(
    place: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Films stay whole in a split, clips are their moments, and every row is kept as it was."""
    cells = [
        {"path": path.relative_to(clips).as_posix(), "second": second, "label": label}
        | {"x1": "0.1", "y1": "0.20", "x2": left, "y2": "0.9"}
        for path in sorted(clips.rglob("*.mp4"))
        for second, left, label in (
            ("0.2", "0.4", "go; sit"),
            ("0.2", "0.5", ""),
            (".5", "1", "go"),
        )
    ]
    listing = clips / "boxes.csv"
    with listing.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(cells[0]))
        writer.writeheader()
        writer.writerows(cells)

    typed("start", listing)

    shown = capsys.readouterr().out
    assert "8 films with boxes at 16 moments of 2 classes: go 8, sit 8" in shown
    assert "a test asks for your own boxes; for those of a detector see docs/BOXES.md" in shown
    assert "    dvc repro page@x3d" in shown
    found = rows(place)
    assert [{name: row[name] for name in cells[0]} for row in found] == cells
    assert len({(row["path"], row["split"]) for row in found}) == 8
    assert {row["split"] for row in found} == {"train", "val"}
    params = load(place / "params.yaml")
    assert params.annotate.dataset == "boxes"
    assert (params.evaluate.clips, params.evaluate.crops) == ((1,), 1)
    assert params.train["x3d"].sampling.rule == params.evaluate.sampling == "stride"


def test_equal_files_under_two_labels_are_told(
    place: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends well, names both, and keeps them in one split."""
    same = ("Öl gießen/Rührei 0x.mp4", "b c/Rührei 1x.mp4")
    shutil.copy(clips / same[0], clips / same[1])

    typed("start", clips)

    told = f"{same[1]}, {same[0]}"
    shown = capsys.readouterr().out.splitlines()
    assert f"equal files, kept in one split: {told}" in shown
    assert f"equal files in two classes: {told}. One of the labels is wrong" in shown
    assert len({row["split"] for row in rows(place) if row["path"] in same}) == 1


def settings_after(folder: Path) -> str:
    typed("start", folder)
    return load(Path("params.yaml")).annotate.files["list"]


def test_another_folder_has_another_list(place: Path, clips: Path, tmp_path: Path) -> None:
    """So that DVC lists its videos, though all names are equal; the same folder keeps its list."""
    other = tmp_path / "other"
    shutil.copytree(clips, other)
    first = settings_after(clips)
    assert settings_after(clips) == first
    (place / "results/mine.json").write_text("{}")
    assert settings_after(clips) == first
    assert (place / "results/mine.json").exists()

    second = settings_after(other)
    assert (place / "results_before/mine.json").exists()
    third = settings_after(clips)
    shutil.copy(clips / CLASSES[0] / "Rührei 0x.mp4", clips / CLASSES[0] / "new.mp4")
    assert len({first, second, third, settings_after(clips)}) == 4
    for path in place.glob("params/own*.csv"):
        path.unlink()
    (place / "data/raw").unlink()
    assert settings_after(other) != first  # DVC keeps what it has once listed by this name
