"""States of a training loop that never ran, to be saved and compared."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def state(step: int) -> dict[str, object]:
    """A state as a training loop has it: weights, optimiser state and plain data."""
    generator = torch.Generator().manual_seed(step)
    return {
        "net": {"weight": torch.randn(8, 4, generator=generator)},
        "optimiser": {"state": {0: {"momentum": torch.full((3,), float(step))}}, "groups": [1]},
        "epoch": step // 10,
        "history": [{"loss": 1 / (step + 1)}],
        "random": generator.get_state(),
    }


def same(found: dict[str, object] | None, step: int) -> bool:
    """Whether two states are equal bit for bit."""
    wanted = state(step)
    return found is not None and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b
        for a, b in zip(leaves(found), leaves(wanted), strict=True)
    )


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value
