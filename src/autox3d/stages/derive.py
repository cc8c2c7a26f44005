r"""Stage `derive`: the most probable network, and how others under the target compare with it.

python -m autox3d.runtime.launch derive --space architectures/space_demo.yaml \
    --clips data/subset.parquet --alpha results/search/alpha.json \
    --weights data/supernet/search.safetensors --genotype results/derive/genotype.yaml \
    --report results/derive/derive.json
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autox3d.core import atomic, settings
from autox3d.core.errors import Refused
from autox3d.runtime.distributed import World, join
from autox3d.runtime.program import paths, run
from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space, SpaceCosts
from autox3d.search.supernet import Supernet, calibrate, load_weights
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.loader import eval_views, train_batches
from autox3d.vision.clips.store import Clips
from autox3d.vision.learning.scoring import scores
from autox3d.vision.models.network import VideoNet, set_training
from autox3d.vision.tasks.metrics import accuracy

TRIED = 100_000  # most probable draws that are looked at for some under the target


def main() -> None:
    """Settings: `supernet`, `derive`, and the search's target."""
    files = paths(__doc__, "space", "clips", "alpha", "weights", "genotype", "report")
    shared = settings.load("supernet", settings.Supernet)
    params = settings.load("derive", settings.Derive)
    target = settings.load("search", settings.Search).target
    space, clips = Space.load(files.space), Clips.load(files.clips, split="val")
    prior = load_prior(files.alpha, space)
    costs = SpaceCosts(space, len(clips.classes))
    draws = [prior.mode(), *runners_up(prior, costs, target, params.runners_up)]
    with join() as world:
        supernet = load_supernet(files.weights, space, len(clips.classes), shared).to(world.device)
        train = Clips.load(files.clips, split="train", half="weights")
        nets = calibrated(supernet, draws, train, shared, params.calibration, world)
        top1 = rank(nets, clips, space, shared, world)
    if world.rank == 0:
        rows = [
            describe(space, prior, costs, draw, found)
            for draw, found in zip(draws, top1, strict=True)
        ]
        report = {
            "space": space.name,
            "networks": f"{space.size:.3g}",
            "target_gmacs": target,
            "found": rows[0] | {"choices": decided(space, prior)},
            "runners_up": sorted(rows[1:], key=lambda row: -row["supernet_top1"]),
        }
        genotype = space.genotype(draws[0], space.name)
        genotype.save(files.genotype, f"The most probable network of {files.space.name}.")
        atomic.write_json(files.report, report)


def load_prior(path: Path, space: Space) -> Prior:
    """The prior as the search left it.

    Raises:
        Refused: no such file, or the choices of another space.
    """
    try:
        choices = json.loads(path.read_text(encoding="utf-8"))["choices"]
        logits = [choice["logits"] for choice in choices]
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise Refused(f"{path}: not what the search writes. Run `search` again.") from error
    prior = Prior([len(choice.candidates) for choice in space.choices])
    if [len(row) for row in logits] != list(prior.candidates):
        raise Refused(f"{path}: its choices are not those of {space.name}. Run `search` again.")
    with torch.no_grad():
        for row, values in zip(prior.alpha, logits, strict=True):
            row[: len(values)] = torch.tensor(values, dtype=row.dtype)
    return prior


def load_supernet(path: Path, space: Space, classes: int, shared: settings.Supernet) -> Supernet:
    """The shared weights as the search left them.

    Raises:
        Refused: no such file, or the weights of another space.
    """
    net = Supernet(space, classes, shared.selection)
    set_training(net, bn_clips=shared.bn_clips, dropout=shared.dropout)
    load_weights(net, path, "search")
    return net


def runners_up(prior: Prior, costs: SpaceCosts, target: float, count: int) -> list[Draw]:
    """The most probable draws under the target, the mode left out; fewer where they are rare."""
    best, mode = itertools.islice(prior.descending(), TRIED), prior.mode()
    under = (draw for _, draw in best if draw != mode and costs.of(draw) <= target)
    return list(itertools.islice(under, count))


def calibrated(
    supernet: Supernet,
    draws: Sequence[Draw],
    clips: Clips,
    shared: settings.Supernet,
    count: int,
    world: World,
) -> list[VideoNet]:
    """The networks of the draws, with batch-norm statistics of `count` training clips."""
    clip = supernet.space.input
    batch = next(
        train_batches(
            clips,
            shared.sampling,
            clip.frames,
            clip.stride,
            clip.crop,
            seed=shared.seed,
            epoch=0,
            batch=min(count, len(clips)),
            chunk=shared.bn_clips,
        )
    )
    seen = [part for _, part, _ in chunks(batch, shared.bn_clips, world.device)]
    nets = [supernet.network(draw) for draw in draws]
    for net in nets:
        calibrate(net, seen)
    return nets


def rank(
    nets: Sequence[VideoNet], clips: Clips, space: Space, shared: settings.Supernet, world: World
) -> list[float]:
    """Top-1 of each network on the validation videos, one centre clip each."""
    clip = space.input
    videos = eval_views(
        clips,
        [1],
        "ends",
        clip.frames,
        clip.stride,
        clip.short,
        clip.crop,
        sampling=shared.sampling.rule,
        crops=["center"],
        world=(world.rank, world.size),
    )
    mine = [
        (video.row, np.stack([scores(net, video.clips, 1, world.device)[0] for net in nets]))
        for video in videos
    ]
    every = dict(row for part in world.gather(mine) for row in part)
    found = np.stack([every[row] for row in range(len(clips))])  # (videos, networks, classes)
    return [accuracy(found[:, number], clips.labels).top1 for number in range(len(nets))]


def describe(
    space: Space, prior: Prior, costs: SpaceCosts, draw: Draw, top1: float
) -> dict[str, Any]:
    """One network in numbers and in words."""
    groups = space.genotype(draw, space.name).groups
    return {
        "gmacs": costs.of(draw),
        "probability": math.exp(prior.log_prob([draw]).item()),
        "supernet_top1": top1,
        "groups": [f"{g.kernel} {g.expansion:g} {g.channels} {g.attention}" for g in groups],
    }


def decided(space: Space, prior: Prior) -> list[dict[str, Any]]:
    """Each choice, what was taken, and how probable each candidate is."""
    rows = zip(space.choices, prior.mode(), prior.probabilities(), strict=True)
    return [
        {
            "group": choice.group + 1,
            "column": choice.column,
            "taken": choice.candidates[taken],
            "probabilities": dict(zip(map(str, choice.candidates), chances, strict=True)),
        }
        for choice, taken, chances in rows
    ]


if __name__ == "__main__":
    run(main)
