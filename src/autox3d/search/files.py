"""The files of warm-up and search: shared weights, traces by epoch and by step, alpha."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from autox3d.core import atomic, names
from autox3d.core.curves import Curve
from autox3d.core.errors import Refused
from autox3d.core.search_records import Alpha, Choice
from autox3d.runtime.checkpoint import Checkpoints
from autox3d.runtime.provenance import measured
from autox3d.search.decisions import separation
from autox3d.search.prior import Prior
from autox3d.search.space import Space
from autox3d.search.state import SearchState
from autox3d.search.supernet import Supernet, load_weights
from autox3d.search.trace import Step, pack, unpack

MEANS = (  # over an epoch
    "loss", "alpha_loss", "effective_draws", "over_target", "drawn_gmacs", "noise", "spread",
)  # fmt: skip
ENDS = ("expected_gmacs", "mode_gmacs", "budget", "multiplier")  # at its end
ALPHAS = ("alpha_loss", "over_target", "noise", "budget", "multiplier")  # of the search alone


def epoch_row(rows: Sequence[Step]) -> dict[str, float]:
    """One row of the trace: means over the steps of an epoch, and the state of alpha at its end."""
    last, count = rows[-1], len(rows)
    phase = "warmup" if math.isnan(last.alpha_loss) else "search"
    means, ends = _columns(phase)
    open_choices = [value for value in last.entropy if value > 0] or [0.0]
    return {
        "epoch": last.epoch + 1,
        "lr": last.lr,
        **{name: sum(getattr(row, name) for row in rows) / count for name in means},
        **{name: getattr(last, name) for name in ends},
        "entropy": sum(open_choices) / len(open_choices),
    }


def _columns(phase: str) -> tuple[list[str], list[str]]:
    """The means and the ends that a phase has."""
    left_out = ALPHAS if phase == "warmup" else ()
    return [name for name in MEANS if name not in left_out], [
        name for name in ENDS if name not in left_out
    ]


def write_curve(
    path: Path, phase: str, rows: Iterable[Step], further: Sequence[Mapping[str, float | str]] = ()
) -> None:
    """Writes one row per epoch, then the `further` ones; without any, the file has only its header.

    Columns that a further row lacks are empty.
    """
    means, ends = _columns(phase)
    columns = ["epoch", "phase", "lr", *means, *ends, "entropy"]
    epochs = groupby(rows, key=lambda row: row.epoch)
    lines = [epoch_row(list(steps)) | {"phase": phase} for _, steps in epochs]
    Curve.of([*lines, *further], columns).write(path)


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


def steps_table(space: Space, state: SearchState) -> pd.DataFrame:
    """Makes a table with one row per step and an entropy column for each choice."""
    rows = list(state.trace())
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
            **_evidence(state, number, len(choice.candidates)),
        )
        for number, choice in enumerate(space.choices)
    ]
    return Alpha(space=space.name, choices=tuple(choices))


def _evidence(state: SearchState, choice: int, count: int) -> dict[str, Any]:
    """The sums of the evidence for the candidates of a choice."""
    sums = state.evidence
    return {
        "clips": tuple(sums.clips[choice, :count].tolist()),
        "budget": tuple(sums.budget[choice, :count].tolist()),
        "products": tuple(map(tuple, sums.products[choice, :count, :count].tolist())),
        "null": separation(
            sums.null[choice, :count].tolist(), sums.null_products[choice, :count, :count].tolist()
        ),
    }


def save_rows(folder: Path, epoch: int, rows: Sequence[Step]) -> None:
    """Saves the rows of a finished epoch beside the checkpoints, which leave them out."""
    with atomic.replacing(_rows(folder, epoch)) as part:
        save_file({"rows": pack(rows)}, part)


def earlier_rows(
    kept: Checkpoints, first: int, epoch: int, saved: dict[str, Any]
) -> list[torch.Tensor]:
    """The rows of each epoch from `first` up to `epoch`, packed.

    A checkpoint of an earlier version has them itself; they are then saved in the files.

    Raises:
        Refused: a file is missing or damaged.
    """
    old = saved["rows"][saved["rows"][:, 0] < epoch]
    if len(old):
        choices = len(saved["alphas"][0])
        epochs = [list(rows) for _, rows in groupby(unpack(old, choices), lambda row: row.epoch)]
        for rows in epochs:
            if kept.writes:
                save_rows(kept.folder, rows[0].epoch, rows)
        return [pack(rows) for rows in epochs]
    try:
        return [load_file(_rows(kept.folder, number))["rows"] for number in range(first, epoch)]
    except (OSError, SafetensorError) as error:
        raise Refused(
            f"{kept.folder}: the rows of a finished epoch cannot be read ({error}). "
            "Delete the folder to start over."
        ) from error


def _rows(folder: Path, epoch: int) -> Path:
    return folder / f"rows-{epoch:05d}.safetensors"


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
