"""`autox3d start` looks at a folder and writes settings for it; nothing of the user's is lost."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from support import ROOT
from support.rates import RATES

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.planning import own_videos, recipe, splitting, workspace
from autox3d.planning.own_lists import OwnVideo
from autox3d.planning.own_videos import Looks
from autox3d.planning.plan import Videos
from autox3d.planning.recipe import Asked, Device
from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Space


def folder(top: Path, *paths: str) -> Path:
    """Files with a content of their own, which are no videos."""
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    return top


def videos(*paths: str) -> list[OwnVideo]:
    return [OwnVideo(path=path, label=path.split("/")[0], split="") for path in paths]


# ---- what is in a folder


def test_class_folders_are_the_classes(tmp_path: Path) -> None:
    """Blanks, umlauts and deeper folders; other files are told, those of systems are not."""
    top = folder(tmp_path, "Öl gießen/a 1.MP4", "b/x/2.webm", "b/._2.webm", "b/notes.txt", "c.md")
    rows, remarks = own_videos.listed(top)

    assert [(row.path, row.label) for row in rows] == [
        ("b/x/2.webm", "b"),
        ("Öl gießen/a 1.MP4", "Öl gießen"),
    ]
    assert remarks == ["left out, as no videos by their names: 1 .md, 1 .txt"]


def test_splits_that_are_there_are_kept(tmp_path: Path) -> None:
    """As folders, and as a column of a list whose paths begin in its folder."""
    top = folder(tmp_path / "v", "train/a/1.mp4", "train/b/1.mp4", "val/a/2.mp4")
    rows, _ = own_videos.listed(top)
    assert [(row.label, row.split) for row in rows] == [
        ("a", "train"),
        ("b", "train"),
        ("a", "val"),
    ]

    folder(tmp_path, "v/1.mp4", "v/2.mp4")
    (tmp_path / "l.csv").write_text("split,label,path\ntrain,a,v/1.mp4\nval,b,v/2.mp4\n")
    rows, _ = own_videos.listed(tmp_path / "l.csv")
    assert own_videos.top_of(tmp_path / "l.csv") == tmp_path
    assert [(row.path, row.split) for row in rows] == [("v/1.mp4", "train"), ("v/2.mp4", "val")]


WRONG = {
    "gone": ((), "{}: there is no such folder. Give the folder with your class folders."),
    "loose": (
        ("1.mp4", "2.mov"),
        "{}: 2 videos in no class folder. Make a folder for each class, and put its videos into "
        "it.",
    ),
    "one class": (
        ("a/1.mp4", "a/2.mp4"),
        "{}: one class only, 'a'. Make a folder for each class, and put its videos into it.",
    ),
    "no videos": (
        ("a/1.txt", "b/2.txt"),
        "{}: no videos in class folders. Make a folder for each class, and put its videos into it.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_without_classes_has_its_line(tmp_path: Path, case: str) -> None:
    """What is wrong, and what to do."""
    paths, line = WRONG[case]
    top = folder(tmp_path / "v", *paths)

    with pytest.raises(Refused) as caught:
        own_videos.listed(own_videos.top_of(top))

    assert str(caught.value) == line.format(top)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    """No stage follows it, so it must not seem to be read."""
    top = folder(tmp_path / "v", "a/1.mp4")
    (top / "b").symlink_to(top / "a")

    with pytest.raises(Refused) as caught:
        own_videos.listed(top)

    assert str(caught.value) == f"{top}/b: a link to a folder. Put the folder itself there."


# ---- recordings


def groups(rows: list[OwnVideo], pattern: str | None = None) -> dict[str, str]:
    return {row.path: row.group for row in own_videos.grouped(rows, pattern)[0]}


def test_a_recording_is_found_by_the_name() -> None:
    """Up to its last number, but only where that tells the videos of a class apart."""
    found = groups(videos("a/kitchen-7_01.mp4", "a/kitchen-7_02.mp4", "a/yard_1.mp4", "b/3.mp4"))
    assert found["a/kitchen-7_01.mp4"] == found["a/kitchen-7_02.mp4"] == "kitchen-7_"
    assert found["a/yard_1.mp4"] == "yard_"

    counted = groups(videos("a/pour_1.mp4", "a/pour_2.mp4", "b/0001.mp4", "b/0002.mp4"))
    assert counted == {path: path for path in counted}


def test_a_pattern_names_the_recording() -> None:
    """Its first group, or all that it matches; it must be in every name."""
    rows = videos("a/v_Pour_g01_c02.avi", "b/v_Stir_g01_c01.avi")
    assert set(groups(rows, "g[0-9]+").values()) == {"g01"}
    assert set(groups(rows, "_(g[0-9]+)_").values()) == {"g01"}
    for pattern, line in {
        "h[0-9]": "--groups: 'h[0-9]' is not in the name 'v_Pour_g01_c02'. Give a pattern for all "
        "names.",
        "(": "--groups: '(' is no regular expression: missing ), unterminated subpattern at "
        "position 0.",
    }.items():
        with pytest.raises(Refused) as caught:
            own_videos.grouped(rows, pattern)
        assert str(caught.value) == line


# ---- the split


def split(rows: list[OwnVideo], copies: tuple[tuple[OwnVideo, ...], ...] = ()) -> list[OwnVideo]:
    named, _ = own_videos.grouped(rows, None)
    by_path = {row.path: row for row in named}
    same = [[by_path[row.path] for row in several] for several in copies]
    return splitting.split(Path("v"), named, same)[0]


@pytest.mark.parametrize("per_recording", [1, 2, 5])
@pytest.mark.parametrize("sizes", [(14, 14, 14), (120, 20, 6), (4, 4), (3, 300)])
def test_recordings_stay_together_and_every_class_is_held_out(
    sizes: tuple[int, ...], per_recording: int
) -> None:
    """Near the share for each class, with something left to train on; the same each time."""
    rows = videos(
        *(
            f"c{c}/rec{c}x{i // per_recording}_{i % per_recording}.mp4"
            for c, size in enumerate(sizes)
            for i in range(size)
        )
    )
    if any(size <= per_recording for size in sizes):
        return
    found = split(rows)

    assert split(rows[::-1]) == found
    by_group: dict[str, set[str]] = {}
    for row in found:
        by_group.setdefault(row.group, set()).add(row.split)
    assert all(len(splits) == 1 for splits in by_group.values())
    share = splitting.SHARE_OF_FEW if sum(sizes) < splitting.FEW else splitting.SHARE
    held = Counter(row.label for row in found if row.split == "val")
    for c, size in enumerate(sizes):
        assert 1 <= held[f"c{c}"] < size
        assert abs(held[f"c{c}"] - share * size) <= per_recording + 1


def test_recordings_that_classes_share_stay_together() -> None:
    """A kitchen in which somebody pours and stirs is held out for both."""
    rows = videos(*(f"{c}/kitchen-{k}_{i}.mp4" for c in "ab" for k in range(6) for i in range(3)))
    found = split(rows)

    of = {row.group: {other.split for other in found if other.group == row.group} for row in found}
    assert len(of) == 6
    assert all(len(splits) == 1 for splits in of.values())
    assert Counter(row.split for row in found)["val"] in (6, 12)


def test_equal_files_stay_together_and_are_told(tmp_path: Path) -> None:
    """Also under two labels, where one of them must be wrong."""
    rows = videos(*(f"{c}/{i}.mp4" for c in "ab" for i in range(8)))
    for row in rows:
        folder(tmp_path, row.path)
    for path in ("a/1.mp4", "a/5.mp4", "b/7.mp4"):
        (tmp_path / path).write_text("a/0.mp4")
    named, _ = own_videos.grouped(rows, None)
    copies = own_videos.same_content(tmp_path, named)
    found, lines = splitting.split(tmp_path, named, copies)

    assert [[row.path for row in same] for same in copies] == [
        ["a/0.mp4", "a/1.mp4", "a/5.mp4", "b/7.mp4"]
    ]
    same = {row.split for row in found if row.path in {r.path for r in copies[0]}}
    assert len(same) == 1
    assert lines == [
        "equal files, kept in one split: a/0.mp4, a/1.mp4, a/5.mp4 and 1 more",
        "equal files in two classes: a/0.mp4, a/1.mp4, a/5.mp4 and 1 more. One of the labels is "
        "wrong",
    ]


def test_leaks_of_a_given_split_are_told() -> None:
    """Equal files, and names of one recording, in two splits."""
    rows = [
        OwnVideo(path=f"{split}/a/yard_{i}.mp4", label="a", split=split, group="yard_")
        for i, split in enumerate(("train", "val"))
    ]
    assert splitting.split(Path("v"), rows, [rows])[1] == [
        "leak: equal files in two splits: train/a/yard_0.mp4, val/a/yard_1.mp4",
        "leak, if these are recordings: in two splits by their names: yard_",
    ]


def test_a_class_of_one_recording_is_refused() -> None:
    """It cannot be in both splits."""
    rows, _ = own_videos.grouped(videos("a/x1_1.mp4", "a/x1_2.mp4", "b/y1.mp4", "b/z2.mp4"), "..")
    with pytest.raises(Refused) as caught:
        splitting.split(Path("v"), rows, [])
    assert str(caught.value) == (
        "v: all videos of class 'a' are of one recording, 'x1', so none can be held out. Add "
        "videos, or tell recordings apart by --groups PATTERN."
    )


# ---- the settings

AB = ("a", "b")  # classes
LAPTOP, GPU = Device("CPU", gpu=False, cores=2), Device("GPU", gpu=True, cores=16)


def written(
    device: Device,
    train: int,
    seconds: float,
    classes: tuple[str, ...] = AB,
    **asked: object,
) -> settings.Params:
    """The settings for a number of videos, read as a stage reads them."""
    looks = Looks(9, [], seconds, seconds, seconds, 480, 640 * 480)
    size = Videos(train, max(1, train // 4), 0, len(classes), seconds)
    known = {"budget": None, "minutes": None, "given": None, **asked}
    wanted = Asked(
        root=Path("v"),
        videos=".",
        listing="./params/own.csv",
        classes=classes,
        split="val",
        network="x3d",
        **known,  # type: ignore[arg-type]
    )
    base = settings.schema.parse(ROOT / "params/folder.yaml")
    content, _ = recipe.drafted(base, wanted, looks, device, size)
    recipe.with_epochs(content, wanted, device, size, RATES)
    path = Path("params.yaml")
    text = recipe.written(content)
    settings.schema.refuse_aliases(text, path)
    return settings.schema.check(settings.schema.parse_text(text, path), settings.Params, path)


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("device", [LAPTOP, GPU], ids=["laptop", "gpu"])
@pytest.mark.parametrize("train", [4, 30, 2_000, 240_000])
@pytest.mark.parametrize("seconds", [0.5, 3.0, 600.0])
def test_the_settings_fit(device: Device, train: int, seconds: float) -> None:
    """A clip is within a video, a crop within the stored frame, an epoch has steps where it can."""
    params = written(device, train, seconds)
    size, recipe_ = params.scale["s"], params.train["x3d"]

    assert size.frames * size.stride / 30 <= max(seconds, size.frames / 30)
    assert size.crop <= size.short <= params.transcode.short
    assert recipe_.sampling.jitter[1] <= params.transcode.short
    assert params.transcode.short % 2 == 0
    assert recipe_.batch == 8 or train // recipe_.batch >= 10
    steps = max(1, train // recipe_.batch)
    assert 1 <= recipe_.epochs <= max(recipe.EPOCHS, device.steps // steps)
    assert recipe_.warmup <= recipe_.epochs
    assert params.subset.classes is None
    assert params.transcode.max_seconds > seconds


def test_minutes_are_epochs() -> None:
    """Less the transcoding, thrice the minutes are thrice the epochs; few videos have a limit."""
    few, more = (written(LAPTOP, 2_000, 3.0, minutes=m).train["x3d"].epochs for m in (28, 40))
    assert 2 < more / few < 5
    assert written(LAPTOP, 30, 3.0, minutes=10_000).train["x3d"].epochs == LAPTOP.steps // 3


@pytest.mark.parametrize(
    ("device", "action", "stride"),
    [(LAPTOP, None, 9), (LAPTOP, 12.0, 9), (LAPTOP, 0.54, 2), (LAPTOP, 0.1, 1), (GPU, 0.9, 2)],
)
def test_a_clip_is_no_longer_than_most_actions(
    device: Device, action: float | None, stride: int
) -> None:
    """By hand: 8 or 13 frames over the seconds, to the nearest step; at most 2.6 s as ever."""
    params = written(device, 500, 6.0, several=True, action=action)

    assert params.scale["s"].stride == stride
    if not device.gpu:
        assert (10 in params.evaluate.clips) == (action is not None)


def test_several_labels_have_a_larger_rate_from_scratch(tmp_path: Path) -> None:
    """Their loss is the mean over the classes; given weights and a GPU keep the usual rate."""
    shutil.copy(ROOT / "architectures/x3d_s.yaml", tmp_path / "genotype.yaml")
    for boxed in (False, True):
        asked = {"several": not boxed, "boxed": boxed}
        assert written(LAPTOP, 30, 3.0, AB, **asked).train["x3d"].lr == 6.4
        given = written(LAPTOP, 30, 3.0, AB, given=tmp_path, **asked).train["x3d"].lr
        assert given == written(LAPTOP, 30, 3.0, given=tmp_path).train["x3d"].lr
        assert written(GPU, 3_000, 3.0, AB, **asked).train["x3d"].lr == 0.4
    assert written(LAPTOP, 30, 3.0).train["x3d"].lr == 1.6


def test_left_and_right_are_not_flipped() -> None:
    """A mirrored clip of one would be a clip of the other."""
    assert written(LAPTOP, 30, 3.0).train["x3d"].sampling.flip
    for names in (("pan_left", "pan_right"), ("Nach links", "Nach rechts")):
        assert not written(LAPTOP, 30, 3.0, names).train["x3d"].sampling.flip
    assert written(LAPTOP, 30, 3.0, ("bright", "dark")).train["x3d"].sampling.flip


def test_a_budget_searches_a_space_that_has_it() -> None:
    """The small space on a CPU where it can keep the budget; else the line says what can be had."""
    params = written(LAPTOP, 30, 3.0, budget=0.006)
    assert (params.search.target, params.supernet.space) == (
        0.006,
        "architectures/space_demo.yaml",
    )
    assert params.scale["s"].crop == Space.load(Path(params.supernet.space)).input.crop
    assert written(LAPTOP, 30, 3.0, budget=1.0).supernet.space.endswith("space_autox3d.yaml")

    small, large = (
        SpaceCosts(Space.load(ROOT / f"architectures/{name}.yaml"), 2)
        for name in ("space_demo", "space_autox3d")
    )
    with pytest.raises(Refused) as caught:
        written(LAPTOP, 30, 3.0, budget=1000.0)
    assert str(caught.value) == (
        f"--budget 1000: the networks of the spaces cost {small.cheapest:.2g} to "
        f"{small.dearest:.2g} or {large.cheapest:.2g} to {large.dearest:.2g} G multiply-adds. "
        "Choose a number between these."
    )


# ---- the clone


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed clone with settings and results of the demo."""
    root = tmp_path / "clone"
    for name in ("dvc.yaml", "params.yaml", "params/folder.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    folder(root, "results/evaluate/s.json", "results/table.md")
    (root / ".gitignore").write_text("/data/*\n")
    who = ("-c", "user.name=lab", "-c", "user.email=lab@localhost")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "demo")):
        subprocess.run(["git", *words], cwd=root, check=True)
    monkeypatch.chdir(root)
    monkeypatch.delenv("AUTOX3D_RAW", raising=False)
    return root


def test_committed_results_are_removed_and_others_kept(place: Path) -> None:
    """Nothing that git does not have is lost."""
    assert workspace.set_results_apart() == [
        "the results that were committed here are removed; git has them"
    ]
    assert not list(place.glob("results/**/*.json"))
    for number in ("", "_2"):
        folder(place, "results/evaluate/mine.json")
        assert workspace.set_results_apart() == [
            f"earlier results are in results_before{number} now"
        ]
        assert (place / f"results_before{number}/evaluate/mine.json").exists()
    assert workspace.set_results_apart() == []


def test_changed_settings_are_kept(place: Path) -> None:
    """Committed ones are in git; those copied from params/ are there."""
    assert workspace.write_settings("a: 1\n") == []
    assert workspace.write_settings("a: 2\n") == [
        "your earlier params.yaml is in params_before.yaml now"
    ]
    assert (place / "params_before.yaml").read_text() == "a: 1\n"
    shutil.copy("params/folder.yaml", "params.yaml")
    assert workspace.write_settings("a: 3\n") == []
    assert (place / "params.yaml").read_text() == "a: 3\n"


def test_the_data_root_is_a_link(place: Path, tmp_path: Path) -> None:
    """The demo's videos are set apart; another folder takes the place of the first."""
    folder(place, "data/raw/demo/1.mp4")
    for name in ("v", "w"):
        top = folder(tmp_path / name, "a/1.mp4")
        target, below = workspace.data_root(top)
        workspace.link(target)
        assert below == "."
        assert (place / "data/raw").resolve() == top
    assert (place / "data/raw_demo/demo/1.mp4").exists()


def test_a_folder_in_the_data_root_stays_there(place: Path) -> None:
    """As docs for other data sets have it."""
    folder(place, "data/raw/mine/a/1.mp4")
    assert workspace.data_root(Path("data/raw/mine")) == (None, "mine")


def test_a_folder_that_stages_write_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the clone itself, and one that the data root's variable does not reach."""
    folder(place, "data/x/a/1.mp4")
    lines = {
        "data/x": "data/x: is where stages write, in data/. Move it to data/raw/x, or out of this "
        "clone.",
        ".": ".: this clone is in it. Give the folder of your class folders.",
    }
    for given, line in lines.items():
        with pytest.raises(Refused) as caught:
            workspace.data_root(Path(given))
        assert str(caught.value) == line

    folder(place, "data/raw/theirs/1.mp4")
    top = folder(tmp_path / "v", "a/1.mp4")
    with pytest.raises(Refused) as caught:
        workspace.data_root(top)
    assert str(caught.value) == (
        f"data/raw: has files of its own. Move {top} into it, or set AUTOX3D_RAW={top}."
    )
    monkeypatch.setenv("AUTOX3D_RAW", str(tmp_path / "w"))
    with pytest.raises(Refused) as caught:
        workspace.data_root(top)
    assert str(caught.value) == (
        f"{top}: is not below AUTOX3D_RAW, {tmp_path}/w. Move it there, or unset AUTOX3D_RAW."
    )
