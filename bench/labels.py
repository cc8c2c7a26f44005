"""Several labels a video: sigmoid against softmax, the views' maximum against their mean, by seed.

    cp params/demo_labels.yaml params.yaml
    dvc repro index baseline@x3d_s
    python -m bench.labels [--seeds 1 2 3] [--losses sigmoid softmax]

Everything is as params.yaml says, the centre crop alone is tested. The softmax training is the
usual one of several labels: each of a clip's n labels is to have the share 1/n, and a clip without
a label teaches nothing. Its loss is divided by the classes, as that of the sigmoid is, so that one
rate fits both. A training that was stopped goes on from its checkpoint.

"a tenth": the average precision of a class among the videos that do not have it, and those in
which it fills a tenth of the time; the mean over the classes. "both": of the views that show two
classes in all their frames, the share in which both have one half or more. "nothing": the largest
score of a view in which no class is active, on average.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autox3d.core import settings
from autox3d.core.settings import Evaluate, Train
from autox3d.core.values import ClipSpec
from autox3d.datasets.demo_labels import RATE
from autox3d.evaluation.run import every_view, video_scores
from autox3d.runtime.session import Session, session
from autox3d.training.run import TrainingClips, train
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips import views
from autox3d.vision.clips.store import Clips
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks import multilabel
from autox3d.vision.tasks.task import POOLS, Task

TABLE = Path("data/clips.parquet")
HALF = 0.5  # score from which on a class is said to be there
SPANS = {"a tenth": (0.0, 0.2), "a third": (0.2, 0.6), "all": (0.6, 1.1)}  # shares of a video


def softmax_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy to equal shares of a clip's labels, over the classes, summed over the clips."""
    mean = logits.mean(1)
    labels = multilabel.hot(mean, target)
    shares = labels / labels.sum(1, keepdim=True).clamp(min=1)
    return -(shares * mean.log_softmax(1)).sum() / mean.shape[1]


LOSSES: dict[str, Task] = {
    "sigmoid": multilabel.TASK,
    "softmax": replace(
        multilabel.TASK, loss=softmax_loss, scores=lambda logits: logits.softmax(2).mean(1)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="A training of several labels, by loss and seed.")
    parser.add_argument("--network", default="x3d_s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=LOSSES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = settings.load()
    recipe = settings.named(params.train, "train", args.network)
    tests = replace(params.evaluate, crops=1)
    genotype = Genotype.load(Path("results/genotypes") / f"{args.network}.yaml")
    columns = [f"{what}, {pool}" for what in ("mAP", *SPANS) for pool in POOLS]
    columns += ["both", "nothing"]
    print(f"| loss | seed | clips | {' | '.join(columns)} |")
    print("|---|---:|---:|" + "---:|" * len(columns))
    for seed in args.seeds:
        for loss in args.losses:
            one = replace(recipe, seed=seed)
            for clips, values in measured(genotype, one, tests, loss).items():
                cells = " | ".join(f"{100 * values[column]:.1f}" for column in columns)
                print(f"| {loss} | {seed} | {clips} | {cells} |", flush=True)
    chances(Clips.load(TABLE, split=tests.split))


def measured(
    genotype: Genotype, recipe: Train, tests: Evaluate, loss: str
) -> dict[int, dict[str, float]]:
    """For each number of clips, the metrics of a network that is trained and tested here."""
    parts = {"params": recipe, "genotype": genotype, "clips": TABLE, "loss": loss, "tests": tests}
    shown = {"params": asdict(recipe), "data": TABLE, "tracked": False}
    with session("bench_labels", loss, parts=parts, **shown) as work:
        table, clips = views_of(genotype, recipe, tests, LOSSES[loss], work)
    found: dict[int, dict[str, float]] = {}
    for k in tests.clips:
        found[k] = {}
        for pool in POOLS:
            scores, labels = video_scores(table, clips, "center", k, replace(tests, pool=pool))
            found[k][f"mAP, {pool}"] = multilabel.measure(scores, labels)["map"]
            for name, span in SPANS.items():
                precisions, _ = of_span(scores, clips, span)
                found[k][f"{name}, {pool}"] = float(np.nanmean(precisions))
        found[k] |= of_views(table, clips, views.test_places(k, tests.rule), genotype.input)
    return found


def views_of(
    genotype: Genotype, recipe: Train, tests: Evaluate, task: Task, work: Session
) -> tuple[pd.DataFrame, Clips]:
    """The scores of all views of the tested videos."""
    clips, tested = TrainingClips.load(TABLE), Clips.load(TABLE, split=tests.split)
    for some in (clips.train, clips.held_out, tested):
        if some:
            some.task = task
    result = train(genotype, clips, recipe, work)
    trained = Trained(result.net.eval(), genotype, result.classes, {}, {}, task)
    table = every_view(trained, tested, tests, work.world, work.kept.folder).table()
    assert table is not None  # one process
    return table, tested


def of_views(
    table: pd.DataFrame, clips: Clips, places: tuple[Fraction, ...], spec: ClipSpec
) -> dict[str, float]:
    """What views that show two classes, and none, are given; NaN without such views.

    Args:
        places: of the views that count
    """
    rows = {key.decode(): row for row, key in enumerate(clips.keys)}
    span = views.span(spec.frames, spec.stride, RATE)
    both, nothing = [], []
    assert clips.active is not None
    for view in table[table["place"].isin({*map(str, places)})].to_dict("records"):
        row = rows[view["key"]]
        start = float(Fraction(view["place"]) * views.last_start(int(clips.frames[row]), span))
        (first, last), known = clips.active[row].T, clips.labels[row] >= 0
        shown = known & (first <= start + span - 1) & (last >= start)
        whole = shown & (first <= start) & (last >= start + span - 1)
        if whole.sum() == 2:  # of the two halves of a picture
            both.append((view["scores"][clips.labels[row][whole]] >= HALF).all())
        if not shown.any():
            nothing.append(view["scores"].max())
    mean = {"both": both, "nothing": nothing}
    return {name: float(np.mean(some)) if some else np.nan for name, some in mean.items()}


def of_span(
    scores: np.ndarray, clips: Clips, span: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """For each class the average precision, and the share of the positives; NaN without any.

    Args:
        scores: (N, C), in the order of the keys
        span: the shares of its video that a label may fill to count; others are left out
    """
    order = np.argsort(clips.keys)
    assert clips.active is not None
    labels, (first, last) = clips.labels[order], np.moveaxis(clips.active[order], 2, 0)
    shares = (last - first + 1) / clips.frames[order][:, None]
    counts = (labels >= 0) & (span[0] <= shares) & (shares < span[1])
    precisions, chances = np.full((2, scores.shape[1]), np.nan)
    for number in range(scores.shape[1]):
        own = labels == number
        kept = ~(own & ~counts).any(1)
        if (positives := own[kept].any(1)).any():
            precisions[number] = multilabel.by_class(scores[kept], labels[kept])[number]
            chances[number] = positives.mean()
    return precisions, chances


def chances(clips: Clips) -> None:
    """Prints what a random order has."""
    none = np.zeros((len(clips), len(clips.classes)))
    whole = multilabel.measure(none, clips.labels)["chance"]
    spans = [float(np.nanmean(of_span(none, clips, span)[1])) for span in SPANS.values()]
    parts = zip(("mAP", *SPANS), (whole, *spans), strict=True)
    print("chance: " + ", ".join(f"{name} {100 * value:.1f}" for name, value in parts))


if __name__ == "__main__":
    main()
