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

from autox3d.core import atomic, settings, tables
from autox3d.core.errors import Refused
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
    params = settings.load().evaluate
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
        results = summarise(table, clips, params) | describe(trained, clips, params)
        atomic.write_json(files.metrics, results)
        confusion = best(table, clips, params)
        atomic.write_text(files.confusion, confusion.to_csv(index=False, lineterminator="\n"))
        data = {"data": fingerprint(clips=files.clips), "weights": fingerprint(w=files.weights)}
        with tracking.run("evaluate", trained.genotype.name, asdict(params), data) as mirror:
            if results["labelled"]:
                mirror.log(0, {f"{c}.{k}": results[c][k] for c in CROPS for k in ACCURACIES})
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


def summarise(table: pd.DataFrame, clips: Clips, params: settings.Evaluate) -> dict[str, Any]:
    """Accuracy of the largest K by both rules of crops, of every K, and of each class."""
    largest = max(params.clips)
    results: dict[str, Any] = {"k_clips": []}
    for crops in CROPS:
        for k in sorted(params.clips):
            found = accuracy(*video_scores(table, crops, k, params))
            shares = (found.top1, found.top5, (found.top1 + found.top5) / 2)
            top = dict(zip(ACCURACIES, map(known, shares), strict=True))
            views = k * (3 if crops == "lcr" else 1)
            results["k_clips"].append({"clips": k, "crops": crops, "views": views, **top})
            if k == largest:
                results[crops] = {"views": views, **top}
                per_class = map(known, found.per_class.tolist())
                named = zip(clips.classes, per_class, strict=True)
                results["per_class"] = [{"class": name, "top1": share} for name, share in named]
    return results


def known(share: float) -> float | None:
    """JSON has no not-a-number: the accuracy of videos without labels is null."""
    return None if np.isnan(share) else share


def describe(trained: Trained, clips: Clips, params: settings.Evaluate) -> dict[str, Any]:
    """What was tested, on what, at what cost a view."""
    genotype = trained.genotype
    clip = genotype.input
    sides = {crops: test_size(crops, clip.short, clip.crop) for crops in CROPS}
    costs = {c: cost(genotype, len(clips.classes), clip.frames, side) for c, side in sides.items()}
    return {
        "net": genotype.name,
        "split": params.split,
        "rule": params.rule,
        "videos": len(clips),
        "labelled": int((clips.labels >= 0).sum()),
        "params": costs["center"].params,
        "gmacs_center": costs["center"].gmacs,
        "gmacs_lcr": costs["lcr"].gmacs,
    }


def best(table: pd.DataFrame, clips: Clips, params: settings.Evaluate) -> pd.DataFrame:
    """One row a labelled video: its class and the one that most views together say."""
    found, labels = video_scores(table, "lcr", max(params.clips), params)
    names = np.array(clips.classes)
    known = labels >= 0
    return pd.DataFrame(
        {"actual": names[labels[known]], "predicted": names[found[known].argmax(1)]}
    )


if __name__ == "__main__":
    run(main)
