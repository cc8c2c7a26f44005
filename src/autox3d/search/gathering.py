"""Gathers all weights of a path from the shared ones by one operation, and their gradients back.

A set of channels cuts a list of positions out of a kernel. Those of all kernels of a path, in turn,
are one index into the kernels as one list of numbers. So a path costs few launches on a GPU, where
slicing kernel by kernel would take more of them than its network. Under autocast all kernels are
cast at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from autox3d.search.channel_sets import Parts, indices

KEPT = 2048  # cuts whose positions are kept: some 80 MB in the space of the paper
ALIGNED = 16  # numbers: every weight begins at a whole cache line, as in memory of its own


class Set(NamedTuple):
    """A set of channels of the widest network: parts of `size` channels each."""

    parts: Parts
    size: int


class Cut(NamedTuple):
    """A shared weight, and the set that a path uses of each dimension; None: all of it."""

    weight: Tensor
    sets: tuple[Set | None, ...]


def gathered(cuts: Sequence[Cut]) -> list[Tensor]:
    """The weights of a path, cut from the shared weights; gradients go back to these."""
    order = sorted(range(len(cuts)), key=lambda number: cuts[number].weight.ndim == 1)
    ordered = [cuts[number] for number in order]  # kernels, then what autocast leaves as it is
    pieces = [_piece(tuple(cut.weight.shape), cut.sets) for cut in ordered]
    lengths = [_line(len(places)) for places, _ in pieces]
    device = cuts[0].weight.device
    pinned = device.type == "cuda"
    index = torch.zeros(sum(lengths), dtype=torch.int32, pin_memory=pinned)  # lives until backward
    every = index.numpy()  # what fills up a weight's last line stays 0, and gathers anything
    end = base = 0
    for (places, _), length, cut in zip(pieces, lengths, ordered, strict=True):
        np.add(places, base, out=every[end : end + len(places)])
        end, base = end + length, base + cut.weight.numel()
    known = torch.amp.is_autocast_available(device.type)  # `meta` is not
    cast = known and torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if cast else None
    shapes = tuple(shape for _, shape in pieces)
    found = _Gather.apply(
        index.to(device, non_blocking=True), shapes, dtype, *(cut.weight for cut in ordered)
    )
    by_number = dict(zip(order, found, strict=True))
    return [by_number[number] for number in range(len(cuts))]


def _line(count: int) -> int:
    """The numbers that a weight of so many takes up."""
    return -(-count // ALIGNED) * ALIGNED


@lru_cache(maxsize=KEPT)
def _piece(
    shape: tuple[int, ...], sets: tuple[Set | None, ...]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """The positions of a cut in a weight of this shape, in order, and the shape of the cut."""
    places = np.zeros(1, np.int32)
    cut = []
    for size, chosen in zip(shape, (*sets, *[None] * len(shape)), strict=False):
        of = range(size) if chosen is None or size == 1 else indices(*chosen)
        places = (places[:, None] * size + np.asarray(of, np.int32)).ravel()
        cut.append(len(of))
    return places, tuple(cut)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        index: Tensor,
        shapes: Sequence[tuple[int, ...]],
        dtype: torch.dtype | None,
        *shared: Tensor,
    ) -> Any:
        source = torch.cat([weight.detach().reshape(-1) for weight in shared])
        lines = source.index_select(0, index)
        kernels = [shape for shape in shapes if len(shape) > 1]
        here = sum(_line(prod(shape)) for shape in kernels)
        cast = lines[:here] if dtype is None else lines[:here].to(dtype)
        return (*_unpacked(cast, kernels), *_unpacked(lines[here:], shapes[len(kernels) :]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        index, _, _, *shared = inputs
        ctx.save_for_backward(index)
        ctx.shapes, ctx.dtype = [weight.shape for weight in shared], shared[0].dtype

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (index,) = ctx.saved_tensors
        kernels = [grad for grad in grads if grad.ndim > 1]
        packed = [_packed(some) for some in (kernels, grads[len(kernels) :]) if some]
        lines = torch.cat([some.to(ctx.dtype) for some in packed])
        sizes = [prod(shape) for shape in ctx.shapes]
        whole = lines.new_zeros(sum(sizes)).index_add_(0, index, lines)
        parts = zip(whole.split(sizes), ctx.shapes, strict=True)
        return None, None, None, *(part.view(shape) for part, shape in parts)


def _unpacked(lines: Tensor, shapes: Sequence[tuple[int, ...]]) -> Iterator[Tensor]:
    """The weights of these shapes, one behind the other, each at the begin of a line."""
    start = 0
    for shape in shapes:
        yield lines[start : start + prod(shape)].view(shape)
        start += _line(prod(shape))


def _packed(weights: Sequence[Tensor]) -> Tensor:
    """The inverse of `_unpacked`: weights as lines, filled up with zeros."""
    fill = weights[0].new_zeros(ALIGNED)
    parts: list[Tensor] = []
    for weight in weights:
        parts += [weight.reshape(-1), fill[: -weight.numel() % ALIGNED]]
    return torch.cat(parts)
