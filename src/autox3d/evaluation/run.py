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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
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
from autox3d.core.scores import ClipsScore, Evaluation, Score, SplitScores
from autox3d.core.settings import Evaluate
from autox3d.core.values import ClipSpec
from autox3d.evaluation.parts import Parts, Row
from autox3d.runtime.checkpoint import RESUME, fingerprint, stop_requested
from autox3d.runtime.distributed import World
from autox3d.runtime.progress import progress
from autox3d.runtime.timing import interleaved
from autox3d.vision.arch.cost import cost
from autox3d.vision.clips.feed import Feed
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import VideoViews, ViewLoader, shown_in_tests
from autox3d.vision.clips.views import Crops, crop_sides, test_places, test_size, union_places
from autox3d.vision.kernels.trial import FORWARD, Layer, layers, tried
from autox3d.vision.learning.capture import cuda_graph
from autox3d.vision.learning.scoring import Scorer, at_once, fetched, ready
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks.task import POOLS


def crops_of(tests: Evaluate) -> tuple[Crops, ...]:
    """The rules of crops that are tested; the last one has the headline."""
    return ("center", "lcr") if tests.crops == 3 else ("center",)


def every_view(
    trained: Trained, clips: Clips, tests: Evaluate, world: World, folder: Path
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
    kind = fingerprint(tests=tests, crops=list(crops_of(tests)), device=world.device.type)
    parts = Parts(folder / f"views-{kind}", clips, world)
    rows: list[Row] = []
    written = time.monotonic()
    for group, scores in fetched(_scored(trained, clips, tests, world, parts.left())):
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
    trained: Trained, clips: Clips, tests: Evaluate, world: World, left: list[int]
) -> Iterator[tuple[list[VideoViews], Tensor]]:
    """Yields some of this rank's videos by all rules of crops, and their scores (V of all, C).

    It ends early where any rank is told to stop, on all ranks in the same round.
    """
    device, crops, name = world.device, crops_of(tests), f"evaluate {trained.genotype.name}"
    spec = shown_in_tests(clips.task, trained.genotype.input)
    net = ready(trained.net.to(device), device)
    capture = cuda_graph if device.type == "cuda" else None
    scorer = Scorer(net, clips.task, device, tests.batch, capture)
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
    videos = progress(moved, len(loader), name, "videos")
    with tried(name, lambda: _layers(net, tests, spec), world, interleaved, scorer.dtype, FORWARD):
        for _ in range(-(-len(left) // (world.size * size))):
            if _told_to_stop(world):
                return
            if some := list(islice(videos, size)):  # a rank may have a video less
                groups = [[video.views(kind, spec) for video in some] for kind in crops]
                scores = torch.cat([scorer.videos(group) for group in groups])
                yield [views for group in groups for views in group], scores
    assert next(videos, None) is None  # and the last line of progress is printed


def _layers(net: torch.nn.Module, tests: Evaluate, spec: ClipSpec) -> list[Layer]:
    """The depthwise convolutions of a pass with the headline's views."""
    side = test_size(crops_of(tests)[-1], spec.short, spec.crop)
    shape, dtype = (tests.batch, 3, spec.frames, side, side), next(net.parameters()).dtype
    return layers(net, torch.empty(shape, dtype=dtype, device="meta"))


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


def main_scores(table: pd.DataFrame, clips: Clips, tests: Evaluate) -> tuple[Any, np.ndarray]:
    """(N, C) scores of the videos from all views, the headline's, and (N, ...) labels; by key."""
    return video_scores(table, clips, crops_of(tests)[-1], max(tests.clips), tests)


def scores_of(table: pd.DataFrame, clips: Clips, tests: Evaluate) -> SplitScores:
    """The metrics of the task for every K and every rule of crops."""
    rows: list[ClipsScore] = []
    largest: dict[Crops, Score] = {}
    for crops in crops_of(tests):
        for k in sorted(tests.clips):
            found = clips.task.measure(*video_scores(table, clips, crops, k, tests))
            metrics = {name: known(x) for name, x in found.items()}
            views = k * len(crop_sides(crops))
            rows.append(ClipsScore(clips=k, crops=crops, views=views, metrics=metrics))
            largest[crops] = Score(views=views, metrics=metrics)  # in the end of the largest K
    return SplitScores(
        split=tests.split,
        videos=len(clips),
        labelled=int(clips.task.labelled(clips.labels).sum()),
        k_clips=tuple(rows),
        center=largest["center"],
        lcr=largest.get("lcr"),
    )


def summarise(
    table: pd.DataFrame,
    trained: Trained,
    clips: Clips,
    tests: Evaluate,
    beside: Sequence[SplitScores] = (),
) -> Evaluation:
    """The metrics of the task for every K, and for every class at the largest K; and the cost.

    Args:
        beside: the metrics on other splits
    """
    genotype, task = trained.genotype, clips.task
    spec, own = shown_in_tests(task, genotype.input), scores_of(table, clips, tests)
    scores, labels = main_scores(table, clips, tests)
    shares = map(known, task.by_class(scores, labels).tolist())
    sides: dict[Crops, int] = {c: test_size(c, spec.short, spec.crop) for c in ("center", "lcr")}
    boxes, many = 1 if task.boxed else None, len(clips.classes)
    costs = {c: cost(genotype, many, spec.frames, side, boxes) for c, side in sides.items()}
    return Evaluation(
        **{field.name: getattr(own, field.name) for field in fields(own)},
        per_class=dict(zip(clips.classes, shares, strict=True)),
        net=genotype.name,
        rule=tests.rule,
        params=costs["center"].params,
        gmacs_center=costs["center"].gmacs,
        gmacs_lcr=costs["lcr"].gmacs,
        task=task.name,
        class_metric=task.headline.name,
        curves=task.curves(scores, labels, clips.classes),
        beside=tuple(beside),
    )


def logged(result: Evaluation) -> dict[int, dict[str, float]]:
    """What MLflow gets by step: at 0 the metrics at the largest K, at K those of K clips.

    Their names are such as `lcr.top1` and `clips.lcr.top1`; those of another split begin with it.
    """
    found: dict[int, dict[str, float]] = {0: {}}
    for of in (some for some in result.splits if some.labelled):
        first = "" if of.split == result.split else f"{of.split}."
        for crops, score in (("center", of.center), ("lcr", of.lcr)):
            found[0] |= _named(f"{first}{crops}", score.metrics if score else {})
        for row in of.k_clips:
            names = _named(f"{first}clips.{row.crops}", row.metrics)
            found[row.clips] = found.get(row.clips, {}) | names
    return found


def _named(first: str, metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {f"{first}.{name}": value for name, value in metrics.items() if value is not None}


def known(number: float) -> float | None:
    """The number, or None for not-a-number, which JSON does not have: no video had a label."""
    return None if np.isnan(number) else float(number)


def outcome(table: pd.DataFrame, clips: Clips, tests: Evaluate) -> list[Pair]:
    """The predictions for each labelled video from the largest number of views."""
    scores, labels = main_scores(table, clips, tests)
    return clips.task.outcome(scores, labels, clips.classes)
