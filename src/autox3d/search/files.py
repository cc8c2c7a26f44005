"""The files of warm-up and search: shared weights, traces by epoch and by step, alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file

from autox3d.core import atomic, names
from autox3d.core.curves import Curve
from autox3d.core.search_records import Alpha, Choice
from autox3d.runtime.provenance import measured
from autox3d.search.loop import SearchState
from autox3d.search.prior import Prior
from autox3d.search.space import Space
from autox3d.search.supernet import Supernet, load_weights
from autox3d.search.trace import Step

MEANS = ("loss", "alpha_loss", "effective_draws", "over_target", "drawn_gmacs")  # over an epoch
ALPHAS = ("alpha_loss", "over_target")  # the means that only the search has


def epoch_row(rows: Sequence[Step]) -> dict[str, float]:
    """One row of the trace: means over the steps of an epoch, and the state of alpha at its end."""
    last, count = rows[-1], len(rows)
    means = [name for name in MEANS if not (name in ALPHAS and math.isnan(getattr(last, name)))]
    open_choices = [value for value in last.entropy if value > 0] or [0.0]
    return {
        "epoch": last.epoch + 1,
        "lr": last.lr,
        **{name: sum(getattr(row, name) for row in rows) / count for name in means},
        "expected_gmacs": last.expected_gmacs,
        "mode_gmacs": last.mode_gmacs,
        "entropy": sum(open_choices) / len(open_choices),
    }


def write_curve(path: Path, phase: str, rows: Sequence[Step]) -> None:
    """Writes one row per epoch; without epochs, the file has only its header."""
    means = [name for name in MEANS if phase != "warmup" or name not in ALPHAS]
    columns = ["epoch", "phase", "lr", *means, "expected_gmacs", "mode_gmacs", "entropy"]
    epochs = groupby(rows, key=lambda row: row.epoch)
    lines = [epoch_row(list(steps)) | {"phase": phase} for _, steps in epochs]
    Curve.of(lines, columns).write(path)


def save_weights(path: Path, state: SearchState) -> None:
    """Saves the shared weights and their momentum, from which the search continues seamlessly."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in state.supernet.named_parameters():
        tensors[f"weight.{name}"] = weight.detach().cpu().contiguous()
        moved = state.sgd.state[weight].get("momentum_buffer")
        if moved is not None:
            tensors[f"momentum.{name}"] = moved.detach().cpu().contiguous()
    with atomic.replacing(path) as part:
        save_file(tensors, part, {names.KEY: str(names.FORMAT)})


def take_over(path: Path, state: SearchState) -> None:
    """Loads the weights and momentum that `save_weights` wrote at the end of the warm-up.

    Raises:
        Refused: the file is missing, or belongs to another space.
    """
    assert isinstance(state.supernet, Supernet)
    tensors = load_weights(state.supernet, path, "warmup")
    for name, weight in state.supernet.named_parameters():
        if (moved := tensors.get(f"momentum.{name}")) is not None:
            state.sgd.state[weight]["momentum_buffer"] = moved.to(weight.device)


def steps_table(space: Space, rows: Sequence[Step]) -> pd.DataFrame:
    """Makes a table with one row per step and an entropy column for each choice."""
    table = pd.DataFrame([row._asdict() for row in rows]).drop(columns="entropy")
    names = [f"entropy {choice.group + 1} {choice.column}" for choice in space.choices]
    entropy = pd.DataFrame([row.entropy for row in rows], columns=pd.Index(names))
    return pd.concat([table, entropy], axis=1)


def alpha_record(space: Space, state: SearchState) -> Alpha:
    """Lists each choice with its candidates' probabilities by epoch and their final logits.

    If no epoch was run, the record has no choices.
    """
    if not state.alphas:
        return Alpha(space=space.name, choices=())
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
    """Returns the probability of each candidate, for each choice."""
    prior = Prior([len(choice.candidates) for choice in space.choices])
    with torch.no_grad():
        prior.alpha.copy_(alpha)
    return prior.probabilities()


def write_nothing(trace: Path, alpha: Path, made: Path, space: Space) -> None:
    """Writes the files of a control without epochs: no rows, no choices, no hours."""
    write_curve(trace, "control", [])
    Alpha(space=space.name, choices=()).write(alpha)
    measured(0.0, torch.device("cpu"), 0).write(made)
