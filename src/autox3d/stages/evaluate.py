r"""Stage `evaluate`: scores of every view of every held-out video, and accuracy. One process a GPU.

python -m autox3d.runtime.launch evaluate --weights data/weights/s --clips data/clips.parquet \
    --scores data/scores/s.parquet --metrics results/evaluate/s.json \
    --confusion results/evaluate/s_confusion.csv
"""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from autox3d.core import settings, tables
from autox3d.core.curves import Pair, write_confusion
from autox3d.core.errors import Refused
from autox3d.core.records import ClipsScore, Evaluation, Metrics, Score
from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.distributed import World, join
from autox3d.runtime.program import paths, run
from autox3d.runtime.progress import progress
from autox3d.sizing.cost import cost
from autox3d.vision.clips.loader import eval_views
from autox3d.vision.clips.store import Clips
from autox3d.vision.clips.views import Crops, test_places, test_size
from autox3d.vision.learning.scoring import scores
from autox3d.vision.models import weights
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks.metrics import accuracy

CROPS: tuple[Crops, ...] = ("center", "lcr")
ACCURACIES = ("top1", "top5", "mean")  # the mean is what Kinetics' test server tells (X3D 4.2)


def main() -> None:
    """Every rank scores its videos; rank 0 writes."""
    files = paths(__doc__, "weights", "clips", "scores", "metrics", "confusion")
    params = settings.load("evaluate", settings.Evaluate)
    trained = weights.load(files.weights)
    clips = Clips.load(files.clips, split=params.split)
    if tuple(trained.classes) != clips.classes:
        raise Refused(
            f"{files.weights}: trained on other classes than {files.clips} has. Train again."
        )
    with join() as world:
        table = every_view(trained, clips, params, world)
        if world.rank:
            return
        tables.write_table(table, files.scores, clips.classes)
        result = summarise(table, trained, clips, params)
        result.write(files.metrics)
        write_confusion(best(table, clips, params), files.confusion)
        data = {"data": fingerprint(clips=files.clips), "weights": fingerprint(w=files.weights)}
        with tracking.run("evaluate", trained.genotype.name, asdict(params), data) as mirror:
            if result.labelled:
                mirror.log(0, logged(result))
            mirror.artifact(files.metrics)
            mirror.artifact(files.confusion)


def every_view(
    trained: Trained, clips: Clips, params: settings.Evaluate, world: World
) -> pd.DataFrame:
    """One row a view of every video, by key; the same whatever the number of processes."""
    parts = world.gather(score(trained, clips, params, world))
    return pd.DataFrame(sorted((row for part in parts for row in part), key=itemgetter("key")))


def score(
    trained: Trained, clips: Clips, params: settings.Evaluate, world: World
) -> list[dict[str, Any]]:
    """One row a view of this rank's videos."""
    clip = trained.genotype.input
    net = trained.net.to(world.device)
    videos = eval_views(
        clips,
        params.clips,
        params.rule,
        clip.frames,
        clip.stride,
        clip.short,
        clip.crop,
        sampling=params.sampling,
        crops=CROPS,
        world=(world.rank, world.size),
    )
    total = len(CROPS) * len(range(world.rank, len(clips), world.size))
    rows = []
    for video in progress(videos, total, f"evaluate {trained.genotype.name}", "videos"):
        found = scores(net, video.clips, params.batch, world.device).numpy()
        rows += [
            {
                "key": clips.keys[video.row].decode(),
                "label": video.label,
                "crops": video.crops,
                "place": str(view.place),
                "side": view.side,
                "scores": of_view,
            }
            for view, of_view in zip(video.views, found, strict=True)
        ]
    return rows


def video_scores(
    table: pd.DataFrame, crops: Crops, k: int, params: settings.Evaluate
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) mean softmax over the views of K clips, and (N,) labels; videos by key."""
    places = {str(Fraction(place)) for place in test_places(k, params.rule)}
    views = table[(table["crops"] == crops) & table["place"].isin(places)]
    videos = views.groupby("key", sort=True)
    found = np.stack([np.stack(of.to_list()).mean(0) for _, of in videos["scores"]])
    return found, videos["label"].first().to_numpy()


def summarise(
    table: pd.DataFrame, trained: Trained, clips: Clips, params: settings.Evaluate
) -> Evaluation:
    """Accuracy of the largest K by both rules of crops, of every K, and of each class; the cost."""
    rows: list[ClipsScore] = []
    largest: dict[Crops, Score] = {}
    per_class: dict[str, float | None] = {}
    for crops in CROPS:
        for k in sorted(params.clips):
            shares = accuracy(*video_scores(table, crops, k, params))
            values = (shares.top1, shares.top5, (shares.top1 + shares.top5) / 2)
            metrics: Metrics = dict(zip(ACCURACIES, map(known, values), strict=True))
            views = k * (3 if crops == "lcr" else 1)
            rows.append(ClipsScore(clips=k, crops=crops, views=views, metrics=metrics))
            if k == max(params.clips):
                largest[crops] = Score(views=views, metrics=metrics)
                per_class = dict(zip(clips.classes, map(known, shares.per_class), strict=True))
    genotype = trained.genotype
    clip = genotype.input
    sides = {crops: test_size(crops, clip.short, clip.crop) for crops in CROPS}
    costs = {c: cost(genotype, len(clips.classes), clip.frames, side) for c, side in sides.items()}
    return Evaluation(
        k_clips=tuple(rows),
        center=largest["center"],
        per_class=per_class,
        lcr=largest["lcr"],
        net=genotype.name,
        split=params.split,
        rule=params.rule,
        videos=len(clips),
        labelled=int((clips.labels >= 0).sum()),
        params=costs["center"].params,
        gmacs_center=costs["center"].gmacs,
        gmacs_lcr=costs["lcr"].gmacs,
    )


def logged(result: Evaluation) -> dict[str, float]:
    """The metrics of the largest K as MLflow shows them: `lcr.top1`."""
    return {
        f"{crops}.{name}": value
        for crops in CROPS
        for name, value in result.score(crops).metrics.items()
        if value is not None
    }


def known(share: float) -> float | None:
    """JSON has no not-a-number: the accuracy of videos without labels is null."""
    return None if np.isnan(share) else float(share)


def best(table: pd.DataFrame, clips: Clips, params: settings.Evaluate) -> list[Pair]:
    """One row a labelled video: its class and the one that most views together say."""
    means, labels = video_scores(table, "lcr", max(params.clips), params)
    return [
        Pair(clips.classes[label], clips.classes[predicted])
        for label, predicted in zip(labels.tolist(), means.argmax(1).tolist(), strict=True)
        if label >= 0
    ]


if __name__ == "__main__":
    run(main)
