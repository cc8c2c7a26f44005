"""`autox3d start` writes settings that fit, into a clone; nothing of the user's is lost."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import ROOT
from support.folders import folder
from support.rates import RATES

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.planning import recipe, workspace
from autox3d.planning.own_videos import Looks
from autox3d.planning.plan import Videos
from autox3d.planning.recipe import Asked, Device
from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Space

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
