"""Two streams beside each of them alone, on still textures and on fast motions, by seed.

    cp params/demo_streams.yaml params.yaml
    dvc repro scale@s
    python -m bench.streams [--genotype results/genotypes/s.yaml] [--seeds 1 2 3]

Every network is trained by the entry `s` of `train` and tested as params.yaml says, with the centre
crop. `sparse` is the sparse stream alone, on every alpha-th frame; `dense` is the dense one alone,
on all of them; both keep the head's hidden layer. The accuracies are of the videos of a kind: a
network that tells the kinds apart and guesses within them has a quarter.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import torch

from autox3d.core import settings
from autox3d.core.settings import Evaluate, Train
from autox3d.evaluation.run import every_view, video_scores
from autox3d.runtime.session import session
from autox3d.training.run import TrainingClips, train
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models.weights import Trained

TABLE = Path("data/clips.parquet")
FOUND = Path("results/genotypes/s.yaml")  # by the search in parts
STILL = "still_"  # how the names of the classes by texture begin


def main() -> None:
    parser = argparse.ArgumentParser(description="Each stream alone, and both.")
    parser.add_argument("--genotype", type=Path, default=FOUND)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=("sparse", "dense", "both"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = settings.load()
    recipe = settings.named(params.train, "train", "s")
    networks = alone(Genotype.load(args.genotype))
    print("| network | G | M | seed | still, % | motion, % | all, % |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in args.only or networks:
        genotype = networks[name]
        account = cost(genotype, len(Clips.load(TABLE, split="train").classes))
        for seed in args.seeds:
            found = measured(genotype, replace(recipe, seed=seed), params.evaluate)
            cells = " | ".join(f"{100 * share:.1f}" for share in found)
            size = f"{account.gmacs:.5f} | {account.params / 1e6:.3f}"
            print(f"| {name} | {size} | {seed} | {cells} |", flush=True)


def alone(both: Genotype) -> dict[str, Genotype]:
    """Each stream of a network of two as a network of its own, and the whole."""
    assert both.dense, "one stream has nothing to compare"
    sparse, dense = both.streams
    thin = tuple(replace(group, fuse=None) for group in dense.groups)
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
        "both": both,
    }


def measured(genotype: Genotype, recipe: Train, tests: Evaluate) -> tuple[float, float, float]:
    """Top-1 of the videos of still textures, of those of motions, and of all, once trained."""
    parts = {"params": recipe, "genotype": genotype, "clips": TABLE, "tests": tests}
    shown = {"params": asdict(recipe), "data": TABLE, "tracked": False}
    with session("bench_streams", genotype.name, parts=parts, **shown) as work:
        tested = Clips.load(TABLE, split=tests.split)
        result = train(genotype, TrainingClips.load(TABLE), recipe, work)
        trained = Trained(result.net.eval(), genotype, result.classes, {}, {})
        table = every_view(trained, tested, tests, work.world, work.kept.folder).table()
    assert table is not None  # one process
    scores, labels = video_scores(table, tested, "center", max(tests.clips), tests)
    hits = scores.argmax(1) == labels
    still = [tested.classes[int(label)].startswith(STILL) for label in labels]
    kinds = [
        [hit for hit, one in zip(hits, still, strict=True) if one is kind] for kind in (True, False)
    ]
    means = [float(sum(some)) / len(some) for some in (*kinds, hits)]
    return means[0], means[1], means[2]


if __name__ == "__main__":
    main()
