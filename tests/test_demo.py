"""The demo's classes differ in motion alone; its files are real, varied and reproducible."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from av.error import InvalidDataError
from support import ROOT

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.datasets import demo, scene

SETTINGS = ("params.yaml", "params/demo_harder.yaml")
SIZE = (96, 72)
RATE = 30
Movie = np.ndarray  # (T, H, W) float32, luma


def movie(
    kind: str, seed: int, count: int, tiles: np.ndarray, kinds: demo.Kinds = scene.MOTIONS
) -> Movie:
    """Renders a video's frames as they go to the encoder."""
    rng = np.random.default_rng([seed, sorted(kinds).index(kind)])
    motion = scene.panned(kinds[kind], seed)
    frames = scene.frames(motion, SIZE, RATE, count, tiles, rng)
    width, height = SIZE
    luma = [np.frombuffer(frame, np.uint8)[: width * height] for frame in frames]
    return np.stack(luma).reshape(count, height, width).astype(np.float32)


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    return scene.noise_tiles(1)


def seen_motion(frames: Movie, rate: float) -> str:
    """Estimates the motion from brightness alone: least squares of dI/dt = -u . grad I.

    u has 4 unknowns, a shift, a turn and a stretch about the middle (Lucas and Kanade 1981).
    """
    frames = smooth(frames)
    dt = (frames[2:] - frames[:-2]) / 2
    dy, dx = np.gradient(frames[1:-1], axis=(1, 2))
    height, width = frames.shape[1:]
    y, x = np.mgrid[:height, :width] - np.array([height - 1, width - 1]).reshape(2, 1, 1) / 2
    middle = (abs(x) < width / 5) & (abs(y) < height / 5)
    columns = [dx, dy, -dx * y + dy * x, dx * x + dy * y]
    design = np.stack([column[:, middle].ravel() for column in columns], 1)
    flow = np.linalg.lstsq(design, -dt[:, middle].ravel(), rcond=None)[0] * rate
    right, down, turn, stretch = flow / (min(SIZE), min(SIZE), 1, 1)
    if abs(turn) > 0.4:  # the picture turns against the camera
        return "roll_counterclockwise" if turn > 0 else "roll_clockwise"
    if abs(stretch) > 0.3:
        return "zoom_in" if stretch > 0 else "zoom_out"
    if abs(right) > abs(down):
        return "pan_left" if right > 0 else "pan_right"
    return "pan_up" if down > 0 else "pan_down"


def smooth(frames: Movie) -> Movie:
    """Averages over 5x5 pixels, which removes sensor noise and keeps the motion."""
    for axis in (1, 2):
        frames = np.mean([np.roll(frames, step, axis) for step in range(-2, 3)], axis=0)
    return frames


def test_a_label_names_the_motion(tiles):
    """Optical flow gives the right class for each of 40 videos, 5 of each class."""
    for motion in scene.MOTIONS:
        assert [seen_motion(movie(motion, seed, 12, tiles), RATE) for seed in range(5)] == (
            [motion] * 5
        )


def test_a_motion_played_backwards_is_its_opposite(tiles):
    """So only the order of frames distinguishes the two."""
    opposite = {"left": "right", "up": "down", "in": "out", "clockwise": "counterclockwise"}
    opposite |= {right: left for left, right in opposite.items()}
    for motion in scene.MOTIONS:
        kind, way = motion.split("_")
        assert seen_motion(movie(motion, 7, 12, tiles)[::-1], RATE) == f"{kind}_{opposite[way]}"


def appearance(frames: Movie) -> np.ndarray:
    """Features of single frames, averaged: brightness, contrast, edges by place, and spectrum."""
    blocks = frames.reshape(len(frames), 6, 12, 8, 12)
    edges = [abs(np.diff(frames, axis=axis)).mean((1, 2)) for axis in (1, 2)]
    spectrum = abs(np.fft.rfft2(frames - frames.mean((1, 2), keepdims=True)))[:, :6, 1:7]
    parts = [blocks.mean((2, 4)), blocks.std((2, 4)), np.stack(edges, 1), np.log1p(spectrum)]
    return np.concatenate([part.reshape(len(frames), -1).mean(0) for part in parts])


def changes(frames: Movie) -> np.ndarray:
    """Features of the order of frames: products of temporal and spatial gradients, by place."""
    frames = smooth(frames)
    dt = frames[1:] - frames[:-1]
    dy, dx = np.gradient((frames[1:] + frames[:-1]) / 2, axis=(1, 2))
    blocks = [(dt * slope).reshape(-1, 6, 12, 8, 12).mean((0, 2, 4)).ravel() for slope in (dy, dx)]
    power = (dx**2 + dy**2).mean()
    return np.concatenate(blocks) / power


def accuracy(
    tiles: np.ndarray,
    features: Callable[[Movie], np.ndarray],
    kinds: demo.Kinds = scene.MOTIONS,
) -> float:
    """Accuracy on 20 videos a class of a ridge regression that is trained on 60 others a class."""
    videos = [(label, seed) for seed in range(80) for label in range(8)]
    names = list(kinds)
    x = np.stack([features(movie(names[label], seed, 6, tiles, kinds)) for label, seed in videos])
    y = np.eye(8)[[label for label, _ in videos]] - 1 / 8
    x = (x - x[:480].mean(0)) / (x[:480].std(0) + 1e-9)
    weights = np.linalg.solve(x[:480].T @ x[:480] + 50 * np.eye(x.shape[1]), x[:480].T @ y[:480])
    return float(((x[480:] @ weights).argmax(1) == y[480:].argmax(1)).mean())


def test_frames_without_their_order_do_not_reveal_the_class(tiles):
    """Accuracy is near chance, 12.5 % (25 % is 4.8 standard errors above it on 160 videos)."""
    assert accuracy(tiles, appearance) < 0.25


def test_the_order_of_frames_reveals_the_class(tiles):
    """The control of the test above: the same classifier on the same videos, given the changes."""
    assert accuracy(tiles, changes) > 0.75


def test_textures_are_told_apart_by_their_frames_and_not_by_the_order_of_them(tiles):
    """The two tests above the other way round: the control of whatever needs motion."""
    kinds = scene.textures(speed=1.0)
    assert accuracy(tiles, appearance, kinds) > 0.5
    assert accuracy(tiles, changes, kinds) < 0.25


def test_every_class_of_textures_pans_every_way(tmp_path):
    """Equally often in each split, so that a motion says nothing of the class; none is bad."""
    counts, kinds = {"train": 8, "val": 4}, scene.textures(speed=0.5)
    ways = Counter(
        (task.split, task.kind, task.motion.right, task.motion.down)
        for task in demo.tasks(tmp_path, counts, 1, kinds)
    )

    assert len(kinds) == 8
    assert set(ways.values()) == {2, 1}
    assert all(count == counts[split] / 4 for (split, *_), count in ways.items())
    assert len(ways) == 2 * 8 * 4
    assert demo.bad(tmp_path, counts, 1, kinds) == []
    assert {motion.speed for motion in kinds.values()} == {(0.1, 0.3)}


def test_the_settings_say_what_tells_the_classes_apart(tmp_path):
    """`motions` as before; textures have no paces, which are refused word for word."""
    path, whole = tmp_path / "params.yaml", yaml.safe_load((ROOT / "params.yaml").read_text())
    asked = whole["annotate"]["demo"]
    found = []
    for changes in ({}, {"classes": "textures", "speed": 0.5}):
        whole["annotate"]["demo"] = asked | changes
        path.write_text(yaml.safe_dump(whole))
        found.append(demo.kinds_of(settings.load(path).annotate.demo))
    assert found == [scene.MOTIONS, scene.textures(0.5)]

    whole["annotate"]["demo"] = asked | {"classes": "textures", "paces": 2}
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(Refused) as refused:
        settings.load(path)
    assert str(refused.value) == (
        f"{path}: 'annotate.demo.classes': textures have no paces. Set paces to 1."
    )


# ---- the files

COUNTS = {"train": 5, "val": 1, "test": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "demo"
    demo.render(folder, COUNTS, seed=1, processes=2)
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_files_are_of_many_kinds(folder):
    """Codecs, containers, sizes, rates and lengths differ; no file is cut short."""
    kinds = []
    for task in demo.tasks(folder, COUNTS, 1):
        with av.open(str(task.path)) as container:
            video = container.streams.video[0]
            assert video.average_rate is not None
            count = sum(1 for _ in container.decode(video))
            kinds.append((video.codec.name, (video.width, video.height), video.average_rate, count))

    assert len(kinds) == 8 * 7
    codecs, sizes, rates, _ = zip(*kinds, strict=True)
    assert set(codecs) == {"h264", "mpeg4", "vp9"}
    assert len(set(sizes)) >= 8
    assert {min(rates), max(rates)} == {10, 30}
    assert all(0.9 <= count / rate <= 4.1 for *_, rate, count in kinds)


def test_decoded_files_show_their_motion(folder):
    """Encoding does not turn, mirror or reorder the frames."""
    for task in demo.tasks(folder, {"train": 2}, 1):
        with av.open(str(task.path)) as container:
            video = container.streams.video[0]
            frames = [frame.reformat(*SIZE, format="gray") for frame in container.decode(video)]
            luma = np.stack([frame.to_ndarray() for frame in frames[:12]]).astype(np.float32)
            assert seen_motion(luma, float(video.average_rate or 0)) == task.kind


def test_a_few_are_bad_on_purpose(folder):
    """They are added to the good ones, spread over classes, and listed like them."""
    listed = demo.describe("demo", COUNTS)
    on_disk = {path for path in contents(folder) if path != demo.SPEC}
    paths = {video.path.removeprefix("demo/") for video in listed.videos}

    assert len(paths) == 8 * 7 + len(demo.BAD)
    missing = {"train/zoom_out/missing.mp4", "test/roll_counterclockwise/missing.mp4"}
    assert paths - on_disk == missing
    assert on_disk <= paths
    assert (folder / "train/zoom_in/empty.mp4").stat().st_size == 0
    with pytest.raises(InvalidDataError):
        av.open(str(folder / "train/pan_left/cut.mp4"))


def test_the_same_seed_gives_the_same_files(folder, tmp_path):
    """Whatever the number of processes and of videos; another seed gives other files."""
    some = {"train": 2, "val": 0, "test": 0}
    demo.render(tmp_path / "again", some, seed=1, processes=1)
    demo.render(tmp_path / "other", some, seed=2, processes=2)

    names = [str(task.path.relative_to(folder)) for task in demo.tasks(folder, some, 1)]
    first, again, other = (
        contents(path) for path in (folder, tmp_path / "again", tmp_path / "other")
    )
    assert all(again[name] == first[name] for name in names)
    assert all(other[name] != first[name] for name in names)


def test_a_second_call_renders_the_missing_files_alone(tmp_path):
    """An interrupted file is rendered again; finished ones stay, with their fixed time."""
    folder, some = tmp_path / "demo", {"train": 1, "val": 0, "test": 0}
    demo.render(folder, some, seed=1, processes=2)
    before = contents(folder)
    lost, torn = folder / "train/pan_up/0000.mp4", folder / "train/zoom_in/0000.mp4"
    lost.unlink()
    torn.write_bytes(b"torn")
    kept = folder / "train/pan_left/0000.mp4"
    inode = kept.stat().st_ino

    demo.render(folder, some, seed=1, processes=2)

    assert contents(folder) == before
    assert kept.stat().st_ino == inode
    assert {path.stat().st_mtime for path in folder.glob("*/*/*")} == {demo.FINISHED}


def test_each_motion_may_be_several_classes_by_its_pace():
    """The paces of a motion divide its range of speeds in equal ratios, without a gap."""
    kinds = scene.motions(paces=3, speed=0.5)

    assert len(kinds) == 3 * len(scene.MOTIONS)
    for name, motion in scene.MOTIONS.items():
        bounds = [kinds[f"{name}_{pace}"].speed for pace in (1, 2, 3)]
        assert (bounds[0][0], bounds[2][1]) == tuple(0.5 * end for end in motion.speed)
        assert (bounds[0][1], bounds[1][1]) == (bounds[1][0], bounds[2][0])
        ratios = [fastest / slowest for slowest, fastest in bounds]
        assert ratios == pytest.approx([(motion.speed[1] / motion.speed[0]) ** (1 / 3)] * 3)
    assert scene.motions(paces=1, speed=1.0) == scene.MOTIONS


def test_the_harder_setting_is_the_demo_on_harder_clips():
    """Its file differs from params.yaml in the rendered videos, the subset and the epochs."""
    usual, harder = (yaml.safe_load((ROOT / at).read_text()) for at in SETTINGS)

    assert harder["annotate"].pop("demo") != usual["annotate"].pop("demo")
    assert harder.pop("subset") != usual.pop("subset")
    assert harder.pop("train")["s"]["epochs"] > usual.pop("train")["s"]["epochs"]
    assert harder == usual


def test_videos_of_other_paces_replace_the_old_ones(tmp_path):
    """The folder then holds the new classes alone, with their bad videos."""
    some, kinds = {"train": 1}, scene.motions(paces=2, speed=0.5)
    demo.render(tmp_path / "demo", some, seed=1, processes=2)
    demo.render(tmp_path / "demo", some, seed=1, processes=2, kinds=kinds)

    listed = demo.describe("demo", some, kinds)
    assert {path.name for path in (tmp_path / "demo/train").iterdir()} == set(listed.classes)
    assert {video.path for video in listed.videos} - {
        f"demo/{path}" for path in contents(tmp_path / "demo")
    } == {"demo/train/zoom_out_1/missing.mp4"}


def test_the_files_of_others_are_not_overwritten(tmp_path):
    """A folder with files of others is refused: `annotate.videos` may be wrong."""
    (tmp_path / "holiday.mp4").write_bytes(b"dear")

    with pytest.raises(Refused) as error:
        demo.render(tmp_path, {"train": 1}, seed=1, processes=1)

    assert str(error.value) == (
        f"{tmp_path}: holds files that the demo has not made. "
        "Set annotate.videos in params.yaml to another folder."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]
