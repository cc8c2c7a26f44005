"""Multi-view testing: scores of every view of every video, merged into scores of the videos.

with session("evaluate", name, parts=parts, params=asdict(tests), data=clips) as work:
    views = every_view(trained, clips, tests, work.world, work.kept.folder)
    table = views.table()  # on rank 0
    results = summarise(table, trained, clips, tests)

N videos, V views, C classes
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autox3d.core import environment
from autox3d.core.curves import Pair
from autox3d.core.records import ClipsScore, Evaluation, PrecisionRecall, Score
from autox3d.core.settings import Evaluate
from autox3d.evaluation.parts import Parts, Row
from autox3d.runtime.checkpoint import RESUME, fingerprint, stop_requested
from autox3d.runtime.distributed import World
from autox3d.runtime.progress import progress
from autox3d.vision.arch.cost import cost
from autox3d.vision.clips.feed import Feed
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import VideoViews, ViewLoader, shown_in_tests
from autox3d.vision.clips.views import Crops, crop_sides, test_places, test_size, union_places
from autox3d.vision.learning.scoring import Scorer, at_once, fetched, ready
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks.task import POOLS

CROPS: tuple[Crops, ...] = ("center", "lcr")
ONE = 1  # clip and square of a moment whose boxes are asked about


def every_view(
    trained: Trained,
    clips: Clips,
    tests: Evaluate,
    world: World,
    folder: Path,
    crops: tuple[Crops, ...] = CROPS,
) -> Parts:
    """Scores the views of all videos, those that an earlier run has scored excepted.

    Args:
        folder: for the scores until they are complete; only for these weights and clips, seen by
            all ranks

    Returns:
        The parts, whose table has one row for each view of each video, for any number of processes.

    Raises:
        Refused: a shard is missing.
        SystemExit: a rank received a stop signal; what it has scored is kept.
    """
    crops = ("center",) if clips.task.boxed else crops
    kind = fingerprint(tests=tests, crops=list(crops), device=world.device.type)
    parts = Parts(folder / f"views-{kind}", clips, world)
    rows: list[Row] = []
    written = time.monotonic()
    for group, scores in fetched(_scored(trained, clips, tests, world, crops, parts.left())):
        rows += _rows(clips, group, scores)
        if time.monotonic() - written > environment.save_every():
            parts.write(rows)
            rows, written = [], time.monotonic()
    parts.write(rows)
    if _told_to_stop(world):
        world.barrier()  # a rank that leaves first ends the others
        sys.exit(RESUME)
    return parts


def _scored(
    trained: Trained,
    clips: Clips,
    tests: Evaluate,
    world: World,
    crops: tuple[Crops, ...],
    left: list[int],
) -> Iterator[tuple[list[VideoViews], Tensor]]:
    """Yields some of this rank's videos by all rules of crops, and their scores (V of all, C).

    It ends early where any rank is told to stop, on all ranks in the same round.
    """
    device, spec = world.device, shown_in_tests(clips.task, trained.genotype.input)
    scorer = Scorer(ready(trained.net.to(device), device), clips.task, device, tests.batch)
    loader = ViewLoader(
        clips=clips,
        spec=spec,
        counts=tests.clips,
        rule=tests.rule,
        sampling=tests.sampling,
        crops=crops,
        world=world.place,
        wanted=left,
    )
    most = len(union_places(tests.clips, tests.rule)) * max(len(crop_sides(c)) for c in crops)
    size = at_once(most, tests.batch, device)
    moved = Feed(device)(loader.decoded(), ("times", "frames"))
    videos = progress(moved, len(loader), f"evaluate {trained.genotype.name}", "videos")
    for _ in range(-(-len(left) // (world.size * size))):
        if _told_to_stop(world):
            return
        if some := list(islice(videos, size)):  # a rank may have a video less
            groups = [[video.views(kind, spec) for video in some] for kind in crops]
            scores = torch.cat([scorer.videos(group) for group in groups])
            yield [views for group in groups for views in group], scores
    assert next(videos, None) is None  # and the last line of progress is printed


def _told_to_stop(world: World) -> bool:
    """Whether any rank was; asked beside the device, which goes on with what it has."""
    return any(world.gather(stop_requested()))


def _rows(clips: Clips, group: Sequence[VideoViews], scores: Tensor) -> list[Row]:
    """One row for each view of some videos, video by video."""
    parts = np.split(scores.numpy(), np.cumsum([len(video.views) for video in group])[:-1])
    pairs = sorted(zip(group, parts, strict=True), key=lambda pair: pair[0].row)
    return [
        {
            "key": clips.keys[video.row].decode(),
            "label": clips.labels[video.row].tolist(),
            "crops": video.crops,
            "place": str(view.place),
            "side": view.side,
            "scores": _answers(clips, video.row, of_view),
        }
        for video, part in pairs
        for view, of_view in zip(video.views, part, strict=True)
    ]


def _answers(clips: Clips, row: int, scores: np.ndarray) -> np.ndarray:
    """The scores of a view as a table has them: (C,), or those of its A proposals in a row."""
    boxed = clips.task.boxed
    return boxed.answers(scores, clips.labels[row]).ravel() if boxed else scores


def video_scores(
    table: pd.DataFrame, clips: Clips, crops: Crops, k: int, tests: Evaluate
) -> tuple[Any, np.ndarray]:
    """(N, C) scores of the videos, pooled from K clips each, and (N, ...) labels; by key.

    A task with boxes has the scores of one view, (A, C) for each video.
    """
    if clips.task.boxed:
        rows = table.sort_values("key", kind="stable")["scores"]
        each = [np.asarray(row).reshape(-1, len(clips.classes)) for row in rows]
        return each, clips.labels[np.argsort(clips.keys)]
    places = {str(Fraction(place)) for place in test_places(k, tests.rule)}
    views = table[(table["crops"] == crops) & table["place"].isin(places)]
    videos = views.groupby("key", sort=True)["scores"]
    merged = np.stack([POOLS[tests.pool](np.stack(of.to_list())) for _, of in videos])
    return merged, clips.labels[np.argsort(clips.keys)]


def summarise(table: pd.DataFrame, trained: Trained, clips: Clips, tests: Evaluate) -> Evaluation:
    """The metrics of the task for every K, and for every class at the largest K; and the cost."""
    genotype, task = trained.genotype, clips.task
    spec = shown_in_tests(task, genotype.input)
    rows: list[ClipsScore] = []
    largest: dict[Crops, Score] = {}
    per_class: dict[str, float | None] = {}
    worst: tuple[PrecisionRecall, ...] = ()
    for crops in CROPS:
        for k in sorted(tests.clips):
            scores, labels = video_scores(table, clips, crops, k, tests)
            metrics = {name: known(x) for name, x in task.measure(scores, labels).items()}
            views = ONE if task.boxed else k * len(crop_sides(crops))
            rows.append(ClipsScore(clips=k, crops=crops, views=views, metrics=metrics))
            if k == max(tests.clips):
                largest[crops] = Score(views=views, metrics=metrics)
                shares = map(known, task.by_class(scores, labels).tolist())
                per_class = dict(zip(clips.classes, shares, strict=True))
                worst = task.curves(scores, labels, clips.classes)
    sides = {crops: test_size(crops, spec.short, spec.crop) for crops in CROPS}
    boxes = ONE if task.boxed else None
    costs = {
        c: cost(genotype, len(clips.classes), spec.frames, side, boxes) for c, side in sides.items()
    }
    return Evaluation(
        k_clips=tuple(rows),
        center=largest["center"],
        per_class=per_class,
        lcr=largest["lcr"],
        net=genotype.name,
        split=tests.split,
        rule=tests.rule,
        videos=len(clips),
        labelled=int(task.labelled(clips.labels).sum()),
        params=costs["center"].params,
        gmacs_center=costs["center"].gmacs,
        gmacs_lcr=costs["lcr"].gmacs,
        task=task.name,
        class_metric=task.headline.name,
        curves=worst,
    )


def logged(result: Evaluation) -> dict[str, float]:
    """The metrics at the largest K under the names that MLflow gets, such as `lcr.top1`."""
    return {
        f"{crops}.{name}": value
        for crops in CROPS
        for name, value in result.score(crops).metrics.items()
        if value is not None
    }


def known(number: float) -> float | None:
    """The number, or None for not-a-number, which JSON does not have: no video had a label."""
    return None if np.isnan(number) else float(number)


def outcome(table: pd.DataFrame, clips: Clips, tests: Evaluate) -> list[Pair]:
    """The predictions for each labelled video from the largest number of views."""
    scores, labels = video_scores(table, clips, "lcr", max(tests.clips), tests)
    return clips.task.outcome(scores, labels, clips.classes)
