"""What follows a convolution or a norm, by Triton, in one pass over memory of channels last.

    B clips, N positions (of all clips, or of one: frames x pixels), C channels

An activation is a part of other kernels too: `activated` and `slope`.
"""
# ruff: noqa: N803, N806  # constants of a kernel are capitals, as in Triton's own code
# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

from math import gcd

import torch
import triton
import triton.language as tl
from torch import Tensor

from autox3d.vision.kernels.reference import channels_last

THEN = {"none": 0, "relu": 1, "swish": 2}  # an activation as a constant of a kernel
TILE = 2048  # numbers of a tile, 16 for each of 128 threads, so that enough loads are under way
WIDTHS = 64, 32  # channels of a tile
WIDE = 8  # numbers that a load may take at once
PROGRAMS = 1024  # of a sum, about: a GPU has some hundred multiprocessors, each with several
SIZES = ["N", "rows", "units", "splits"]  # compiled once, not for each divisor of them


@triton.jit
def activated(v, THEN: tl.constexpr):
    """The activation; of NaN it is NaN, as in PyTorch."""
    if THEN == 1:
        v = tl.where(v < 0.0, 0.0, v)
    if THEN == 2:
        v = v / (1.0 + tl.exp(-v))
    return v


@triton.jit
def slope(v, THEN: tl.constexpr):
    """The derivative of the activation at v; of ReLU at 0 it is 0."""
    if THEN == 1:
        v = tl.where(v <= 0.0, 0.0, 1.0)
    if THEN == 2:
        share = 1.0 / (1.0 + tl.exp(-v))
        v = share * (1.0 + v * (1.0 - share))
    return v


@triton.jit
def place(N, C, start, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """Places (ROWS, WIDTH) of a tile in (N, C), its channels, and which places there are."""
    n = start + tl.arange(0, ROWS)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    keep = (n < N)[:, None] & (c < C)[None, :]
    return n[:, None] * C + c[None, :], c, keep


@triton.jit(do_not_specialize=SIZES)
def finish_kernel(y, bias, plus, N, units, UNIT: tl.constexpr, BIAS: tl.constexpr,
                  PLUS: tl.constexpr, THEN: tl.constexpr, ROWS: tl.constexpr,
                  WIDTH: tl.constexpr):  # fmt: skip
    """y (N, C) becomes then(y + bias + plus) in place."""
    C = units * UNIT  # a product, from which the compiler knows how wide loads may be
    start = tl.program_id(0).to(tl.int64) * ROWS
    at, c, keep = place(N - start, C, 0, WIDTH, ROWS)
    y += start * C
    v = tl.load(y + at, mask=keep, other=0.0).to(tl.float32)
    if BIAS:
        v += tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    if PLUS:
        v += tl.load(plus + start * C + at, mask=keep, other=0.0).to(tl.float32)
    tl.store(y + at, activated(v, THEN).to(y.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=SIZES)
def gate_kernel(x, gate, y, N, units, UNIT: tl.constexpr, THEN: tl.constexpr, ROWS: tl.constexpr,
                WIDTH: tl.constexpr):  # fmt: skip
    """x (B, N, C), gate (B, C) -> y = then(x * gate)."""
    C = units * UNIT
    b = tl.program_id(2)
    at, c, keep = place(N, C, tl.program_id(0) * ROWS, WIDTH, ROWS)
    at += b.to(tl.int64) * N * C
    scale = tl.load(gate + b * C + c, mask=c < C, other=0.0).to(tl.float32)
    v = tl.load(x + at, mask=keep, other=0.0).to(tl.float32) * scale[None, :]
    tl.store(y + at, activated(v, THEN).to(y.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=SIZES)
def gate_backward_kernel(grad, x, gate, for_x, part, N, rows, units, splits, UNIT: tl.constexpr,
                         THEN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """The gradient of x; and part (B, splits, C), whose sums are that of the gate."""
    C = units * UNIT
    s, b = tl.program_id(0), tl.program_id(2)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    scale = tl.load(gate + b * C + c, mask=c < C, other=0.0).to(tl.float32)
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    end = tl.minimum((s + 1) * rows, N)
    for start in range(s * rows, end, ROWS):
        at, _, keep = place(end, C, start, WIDTH, ROWS)
        at += b.to(tl.int64) * N * C
        v = tl.load(x + at, mask=keep, other=0.0).to(tl.float32)
        d = tl.load(grad + at, mask=keep, other=0.0).to(tl.float32)
        if THEN != 0:
            d *= slope(v * scale[None, :], THEN)
        total += d * v
        tl.store(for_x + at, (d * scale[None, :]).to(for_x.dtype.element_ty), mask=keep)
    tl.store(part + (b * splits + s) * C + c, tl.sum(total, 0), mask=c < C)


def finish(y: Tensor, bias: Tensor | None, plus: Tensor | None, then: str) -> Tensor:
    """Makes (B, C, T, H, W) then(y + bias + plus) in place, in channels last."""
    channels = y.shape[1]
    count, (units, unit), (rows, width) = y.numel() // channels, in_units(channels), tile(channels)
    if plus is not None:
        plus = channels_last(plus)
    some = [y if one is None else one for one in (bias, plus)]  # one that is None is not read
    finish_kernel[(over(count, rows), over(channels, width))](
        y, *some, count, units, unit, bias is not None, plus is not None, THEN[then], rows, width
    )
    return y


def gated(x: Tensor, gate: Tensor, then: str) -> Tensor:
    """Computes then(x * gate), of (B, N, C), contiguous, and (B, C)."""
    clips, count, channels = x.shape
    (units, unit), (rows, width) = in_units(channels), tile(channels)
    y = torch.empty_like(x)
    gate_kernel[(over(count, rows), over(channels, width), clips)](
        x, gate.contiguous(), y, count, units, unit, THEN[then], rows, width
    )
    return y


def gated_backward(grad: Tensor, x: Tensor, gate: Tensor, then: str) -> tuple[Tensor, Tensor]:
    """The gradients of x (B, N, C) and gate (B, C)."""
    clips, count, channels = x.shape
    (units, unit), (rows, width) = in_units(channels), tile(channels)
    splits, of_each = split(x)
    part = x.new_empty((clips, splits, channels), dtype=torch.float32)
    for_x = torch.empty_like(x)
    gate_backward_kernel[(splits, over(channels, width), clips)](
        grad, x, gate.contiguous(), for_x, part, count, of_each, units, splits, unit, THEN[then],
        rows, width
    )  # fmt: skip
    return for_x, part.sum(1).to(gate.dtype)


def split(x: Tensor) -> tuple[int, int]:
    """The programs that share a sum over N of (G, N, C), and the positions of each."""
    parts, count, channels = x.shape
    rows, width = tile(channels)
    wanted = max(1, PROGRAMS // (parts * over(channels, width)))
    of_each = over(over(count, wanted), rows) * rows
    return over(count, of_each), of_each


def tile(channels: int) -> tuple[int, int]:
    """Positions and channels of a tile: the width that leaves the fewest threads idle."""
    width = min(WIDTHS, key=lambda width: over(channels, width) * width)
    return TILE // width, width


def in_units(channels: int) -> tuple[int, int]:
    """The channels in units that can be loaded at once, and the size of a unit."""
    unit = gcd(channels, WIDE)
    return channels // unit, unit


def over(whole: int, part: int) -> int:
    """The quotient, rounded up."""
    return -(-whole // part)
