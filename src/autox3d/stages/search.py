r"""Stage `search`: weights and alpha in turn, from the warmed-up supernet. One process a GPU.

python -m autox3d.runtime.launch search --space architectures/space_demo.yaml \
    --clips data/subset.parquet --init data/supernet/warmup.safetensors \
    --weights data/supernet/search.safetensors --alpha results/search/alpha.json \
    --steps data/supernet/steps.parquet --trace results/search/trace.csv \
    --made results/search/search_made.json
"""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from autox3d.core import settings, tables
from autox3d.core.records import Alpha, Choice
from autox3d.runtime import provenance, tracking
from autox3d.runtime.checkpoint import Checkpoints, fingerprint, folder
from autox3d.runtime.distributed import join
from autox3d.runtime.program import paths, run
from autox3d.search.loop import State
from autox3d.search.prior import Prior
from autox3d.search.space import Space
from autox3d.search.trace import Step
from autox3d.stages.phase import Phase, save_weights, take_over, write_curve


def main() -> None:
    files = paths(__doc__, "space", "clips", "init", "weights", "alpha", "steps", "trace", "made")
    search("search", files, settings.load("search", settings.Search).epochs)


def search(stage: str, files: SimpleNamespace, epochs: int, *, shuffled: bool = False) -> None:
    """So many epochs of the search. Settings: `supernet`, `search`, and the epochs of `warmup`.

    Args:
        stage: that asks
        shuffled: the null control, which leaves no weights and no steps
    """
    shared = settings.load("supernet", settings.Supernet)
    params = settings.load("search", settings.Search)
    warm = settings.load("warmup", settings.Warmup).epochs
    space = Space.load(files.space)
    parts = {"shared": shared, "search": params, "warm": warm, "epochs": epochs, "space": space}
    parts |= {"clips": files.clips, "init": files.init}
    with (
        join() as world,
        Checkpoints(folder(stage, **parts), writes=world.rank == 0) as kept,
        tracking.run(
            stage,
            "",
            asdict(shared) | {"search": asdict(params)},
            {"data": fingerprint(clips=files.clips)},
            resume=kept.folder / "mlflow-run",
        ) as mirror,
    ):
        phase = Phase(files.clips, space, shared, world, (warm, params.epochs))
        phase.state.epoch = warm
        take_over(files.init, phase.state)
        for group in phase.state.adam.param_groups:
            group["lr"] = params.alpha_lr
        if shuffled:
            shuffle(phase.halves["alpha"].labels, shared.seed)
        recipe = phase.recipe(warm + epochs, params, params.draws)
        phase.go(stage, recipe, phase.batches("alpha"), kept, mirror)
        if world.rank == 0:
            if not shuffled:
                save_weights(files.weights, phase.state)
                tables.write_table(steps_table(space, phase.state.rows), files.steps)
            write_curve(files.trace, stage, phase.state.rows)
            alpha_record(space, phase.state).write(files.alpha)
            made = provenance.measured(phase.seconds, world.device, world.size, shared.seed)
            made.write(files.made)
            for path in (files.space, files.alpha, files.trace, files.made):
                mirror.artifact(path)


def shuffle(labels: np.ndarray, seed: int) -> None:
    """The null control: each clip of alpha's half gets the label of another, once for all."""
    np.random.default_rng((seed, len(labels))).shuffle(labels)


def steps_table(space: Space, rows: list[Step]) -> pd.DataFrame:
    """One row a step; the entropy of each choice in a column of its own."""
    found = pd.DataFrame([row._asdict() for row in rows]).drop(columns="entropy")
    names = [f"entropy {choice.group + 1} {choice.column}" for choice in space.choices]
    entropy = pd.DataFrame([row.entropy for row in rows], columns=pd.Index(names))
    return pd.concat([found, entropy], axis=1)


def alpha_record(space: Space, state: State) -> Alpha:
    """Every choice with the probabilities of its candidates by epoch, and the logits at the end."""
    epochs = [probabilities(space, alpha) for alpha in state.alphas]
    logits = state.prior.alpha.tolist()
    choices = [
        Choice(
            group=choice.group + 1,
            column=choice.column,
            candidates=tuple(choice.candidates),
            probabilities=tuple(tuple(round(p, 6) for p in epoch[number]) for epoch in epochs),
            logits=tuple(logits[number][: len(choice.candidates)]),
        )
        for number, choice in enumerate(space.choices)
    ]
    return Alpha(space=space.name, choices=tuple(choices))


def probabilities(space: Space, alpha: torch.Tensor) -> list[list[float]]:
    """For each choice, the probability of each candidate."""
    prior = Prior([len(choice.candidates) for choice in space.choices])
    with torch.no_grad():
        prior.alpha.copy_(alpha)
    return prior.probabilities()


if __name__ == "__main__":
    run(main)
