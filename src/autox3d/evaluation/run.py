"""Multi-view testing: scores of every view of every video, merged into scores of the videos.

with join() as world:
    table = every_view(trained, clips, tests, world)
results = summarise(table, clips, tests)

N videos, V views, C classes
"""

from __future__ import annotations

from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autox3d.core.curves import Pair
from autox3d.core.errors import Refused
from autox3d.core.records import ClipsScore, Evaluation, PrecisionRecall, Score
from autox3d.core.settings import Evaluate
from autox3d.runtime.distributed import World
from autox3d.runtime.progress import progress
from autox3d.vision.arch.cost import cost
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.videos import ViewLoader
from autox3d.vision.clips.views import Crops, crop_sides, test_places, test_size
from autox3d.vision.learning.scoring import scores
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks.task import POOLS

CROPS: tuple[Crops, ...] = ("center", "lcr")


def every_view(
    trained: Trained,
    clips: Clips,
    tests: Evaluate,
    world: World,
    crops: tuple[Crops, ...] = CROPS,
) -> pd.DataFrame:
    """One row for each view of each video, sorted by key, for any number of processes."""
    parts = world.gather(_score(trained, clips, tests, world, crops))
    return pd.DataFrame(sorted((row for part in parts for row in part), key=itemgetter("key")))


def _score(
    trained: Trained, clips: Clips, tests: Evaluate, world: World, crops: tuple[Crops, ...]
) -> list[dict[str, Any]]:
    """One row for each view of the videos of this rank."""
    net = trained.net.to(world.device)
    loader = ViewLoader(
        clips=clips,
        spec=trained.genotype.input,
        counts=tests.clips,
        rule=tests.rule,
        sampling=tests.sampling,
        crops=crops,
        world=world.place,
    )
    total = len(crops) * len(loader)
    rows = []
    what = f"evaluate {trained.genotype.name}"
    for video in progress(loader.videos(), total, what, "tests of a video"):  # one for each rule
        view_scores = scores(net, clips.task, video.clips, tests.batch, world.device).numpy()
        rows += [
            {
                "key": clips.keys[video.row].decode(),
                "label": clips.labels[video.row].tolist(),
                "crops": video.crops,
                "place": str(view.place),
                "side": view.side,
                "scores": of_view,
            }
            for view, of_view in zip(video.views, view_scores, strict=True)
        ]
    return rows


def video_scores(
    table: pd.DataFrame, clips: Clips, crops: Crops, k: int, tests: Evaluate
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) scores of the videos, pooled from K clips each, and (N, ...) labels; by key."""
    places = {str(Fraction(place)) for place in test_places(k, tests.rule)}
    views = table[(table["crops"] == crops) & table["place"].isin(places)]
    videos = views.groupby("key", sort=True)["scores"]
    merged = np.stack([POOLS[tests.pool](np.stack(of.to_list())) for _, of in videos])
    return merged, clips.labels[np.argsort(clips.keys)]


def refuse_constant(table: pd.DataFrame, clips: Clips, tests: Evaluate, source: Path) -> None:
    """Checks that the scores rank the videos, where every class is a question of its own.

    Raises:
        Refused: all videos have the same score in a class; `source` is where its scores come from.
    """
    if not clips.task.several or len(clips) < 2:
        return
    scores, _ = video_scores(table, clips, "lcr", max(tests.clips), tests)
    same = np.flatnonzero(~(scores.max(0) > scores.min(0)))
    if same.size:
        more = f" and {same.size - 1} more" if same.size > 1 else ""
        raise Refused(
            f"{source}: all {len(clips)} videos have the score {scores[0, same[0]]:.4g} in class "
            f"'{clips.classes[same[0]]}'{more}, and their precision would be that of their order. "
            "Train longer, or at a lower rate."
        )


def summarise(table: pd.DataFrame, trained: Trained, clips: Clips, tests: Evaluate) -> Evaluation:
    """The metrics of the task for every K, and for every class at the largest K; and the cost."""
    genotype, task = trained.genotype, clips.task
    spec = genotype.input
    rows: list[ClipsScore] = []
    largest: dict[Crops, Score] = {}
    per_class: dict[str, float | None] = {}
    worst: tuple[PrecisionRecall, ...] = ()
    for crops in CROPS:
        for k in sorted(tests.clips):
            scores, labels = video_scores(table, clips, crops, k, tests)
            metrics = {name: known(x) for name, x in task.measure(scores, labels).items()}
            views = k * len(crop_sides(crops))
            rows.append(ClipsScore(clips=k, crops=crops, views=views, metrics=metrics))
            if k == max(tests.clips):
                largest[crops] = Score(views=views, metrics=metrics)
                shares = map(known, task.by_class(scores, labels).tolist())
                per_class = dict(zip(clips.classes, shares, strict=True))
                worst = task.curves(scores, labels, clips.classes)
    sides = {crops: test_size(crops, spec.short, spec.crop) for crops in CROPS}
    costs = {c: cost(genotype, len(clips.classes), spec.frames, side) for c, side in sides.items()}
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
