"""Two streams beside each of them alone, on still textures and on fast motions, by seed.

    cp params/demo_streams.yaml params.yaml
    dvc repro scale@s
    python -m bench.streams [--genotype results/genotypes/s.yaml] [--seeds 1 2 3] [--still]
        [--only sparse dense both unfused] [--beside GENOTYPE ...]

Every network is trained by the entry `s` of `train` and tested as params.yaml says, with the centre
crop. `sparse` is the sparse stream alone, on every alpha-th frame; `dense` is the dense one alone,
on all of them; both keep the head's hidden layer. `unfused` is both with `skip` for every fusion,
so that the streams meet in the head alone. The accuracies are of the videos of a kind: a network
that tells the kinds apart and guesses within them has a quarter. The last table has the means over
the seeds, with 95 % intervals over the videos.

`--still` trains and tests with the videos of textures alone, where fusing has nothing to add.
`--beside` takes further networks, whose difference from `both` is told video by video.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from autox3d.core import settings, tables
from autox3d.core.intervals import bootstrap
from autox3d.core.settings import Evaluate, Train
from autox3d.evaluation.run import every_view, video_scores
from autox3d.runtime.session import session
from autox3d.training.run import TrainingClips, train
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.fusions import SKIP
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models.weights import Trained

TABLE = Path("data/clips.parquet")
STILL_TABLE = Path("data/still.parquet")  # its rows of textures
FOUND = Path("results/genotypes/s.yaml")  # by the search in parts
STILL = "still_"  # how the names of the classes by texture begin
BOTH = "both"


def main() -> None:
    parser = argparse.ArgumentParser(description="Each stream alone, and both.")
    parser.add_argument("--genotype", type=Path, default=FOUND)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=("sparse", "dense", BOTH, "unfused"))
    parser.add_argument("--beside", type=Path, nargs="+", default=[])
    parser.add_argument("--still", action="store_true", help="the videos of textures alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = settings.load()
    recipe = settings.named(params.train, "train", "s")
    table = still_alone() if args.still else TABLE
    networks = alone(Genotype.load(args.genotype))
    networks = {name: networks[name] for name in args.only or networks}
    networks |= {str(path): Genotype.load(path) for path in args.beside}
    tested = Clips.load(table, split=params.evaluate.split)
    by_key = tested.labels[np.argsort(tested.keys)]  # as `video_scores` has them
    still = np.array([tested.classes[int(label)].startswith(STILL) for label in by_key])
    print("| network | G | M | seed | still, % | motion, % | all, % |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    hits: dict[str, list[np.ndarray]] = {}
    for name, genotype in networks.items():
        account = cost(genotype, len(tested.classes))
        for seed in args.seeds:
            right = answers(genotype, replace(recipe, seed=seed), table, params.evaluate)
            hits.setdefault(name, []).append(right)
            cells = " | ".join(_share(right[of]) for of in kinds(still).values())
            size = f"{account.gmacs:.5f} | {account.params / 1e6:.3f}"
            print(f"| {name} | {size} | {seed} | {cells} |", flush=True)
    summary(hits, still)


def kinds(still: np.ndarray) -> dict[str, np.ndarray]:
    """Which videos are of each kind."""
    return {"still": still, "motion": ~still, "all": np.ones_like(still)}


def still_alone() -> Path:
    """The table of the videos of textures, whose classes alone it has."""
    rows, names = tables.read_table(TABLE), tables.read_classes(TABLE)
    kept = [name for name in names if name.startswith(STILL)]
    label = {names.index(name): number for number, name in enumerate(kept)}
    rows = rows[rows.label.isin(label)]
    tables.write_table(rows.assign(label=rows.label.map(label)), STILL_TABLE, kept)
    return STILL_TABLE


def alone(both: Genotype) -> dict[str, Genotype]:
    """Each stream of a network of two as one of its own, the whole, and it without fusions."""
    assert both.dense, "one stream has nothing to compare"
    sparse, dense = both.streams
    thin = tuple(replace(group, fuse=None) for group in dense.groups)
    apart = tuple(replace(group, fuse=SKIP) for group in both.dense.groups)
    return {
        "sparse": replace(both, name="sparse", input=sparse.input, dense=None),
        "dense": replace(
            both,
            name="dense",
            stem=dense.stem,
            groups=thin,
            head=replace(both.head, channels=both.dense.head),
            dense=None,
        ),
        BOTH: both,
        "unfused": replace(both, name="unfused", dense=replace(both.dense, groups=apart)),
    }


def answers(genotype: Genotype, recipe: Train, table: Path, tests: Evaluate) -> np.ndarray:
    """Whether the network, once trained, is right about each video of the test."""
    parts = {"params": recipe, "genotype": genotype, "clips": table, "tests": tests}
    shown = {"params": asdict(recipe), "data": table, "tracked": False}
    with session("bench_streams", genotype.name, parts=parts, **shown) as work:
        tested = Clips.load(table, split=tests.split)
        result = train(genotype, TrainingClips.load(table), recipe, work)
        trained = Trained(result.net.eval(), genotype, result.classes, {}, {})
        scored = every_view(trained, tested, tests, work.world, work.kept.folder).table()
    assert scored is not None  # one process
    scores, labels = video_scores(scored, tested, "center", max(tests.clips), tests)
    return scores.argmax(1) == labels


def summary(hits: dict[str, list[np.ndarray]], still: np.ndarray) -> None:
    """Prints the means over the seeds, and the differences from both streams together."""
    found = {name: np.mean(runs, 0) for name, runs in hits.items()}
    print("\n| network | still, % | motion, % | all, % |\n|---|---:|---:|---:|")
    for name, shares in found.items():
        print(f"| {name} | {_row(shares, still)} |")
    for name in [name for name in found if BOTH in found and name != BOTH]:
        print(f"| {BOTH} less {name} | {_row(found[BOTH] - found[name], still)} |")


def _share(right: np.ndarray) -> str:
    return f"{100 * right.mean():.1f}" if len(right) else "-"


def _row(values: np.ndarray, still: np.ndarray) -> str:
    return " | ".join(_cell(values[of]) for of in kinds(still).values())


def _cell(values: Sequence[float] | np.ndarray) -> str:
    """A mean and its interval, in points."""
    if not len(values):
        return "-"
    low, high = bootstrap(values, seed=1)
    return f"{100 * np.mean(values):.1f} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
