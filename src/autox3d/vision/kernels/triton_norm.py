"""Batch norm of several chunks at once by Triton, forward and backward, in channels last.

    G chunks, N positions of a chunk (clips x frames x pixels), C channels

Memory is (G, N, C). A chunk's sums are in float32 and in a fixed order, without atomic operations:
a program adds up some rows, a second kernel adds up the programs. Sums are of the distance from the
first row, so that a mean far from 0 costs no digits. PyTorch's own batch norm takes one chunk a
call, and its operators for all of them write every step of the formula to memory in float32.
"""
# ruff: noqa: N803, N806  # constants of a kernel are capitals, as in Triton's own code
# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

from math import gcd

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, WIDTH = 32, 64  # of a tile: positions and channels
PROGRAMS = 1024  # of a sum, about: a GPU has some hundred multiprocessors
WIDE = 8  # numbers that a load may take at once
SIZES = ["N", "rows", "units", "splits"]  # compiled once, not for each divisor of them


@triton.jit
def _tile(N, C, start, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """Places (ROWS, WIDTH) of a tile in a chunk, and which of them there are."""
    n = start + tl.arange(0, ROWS)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    keep = (n < N)[:, None] & (c < C)[None, :]
    return n[:, None] * C + c[None, :], c, keep


@triton.jit(do_not_specialize=SIZES)
def moments_kernel(x, part, N, rows, units, splits, UNIT: tl.constexpr, ROWS: tl.constexpr,
                   WIDTH: tl.constexpr):  # fmt: skip
    """x (G, N, C) -> part (2, G, splits, C): sums of x - first row, and of its square."""
    C = units * UNIT
    s, g, chunks = tl.program_id(0), tl.program_id(2), tl.num_programs(2)
    x += g.to(tl.int64) * N * C
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    first = tl.load(x + c, mask=c < C, other=0.0).to(tl.float32)
    a = tl.zeros((WIDTH,), tl.float32)
    b = a
    for start in range(s * rows, tl.minimum((s + 1) * rows, N), ROWS):
        at, _, keep = _tile(N, C, start, WIDTH, ROWS)
        keep = keep & (start + tl.arange(0, ROWS) < (s + 1) * rows)[:, None]
        v = tl.load(x + at, mask=keep, other=0.0).to(tl.float32) - first[None, :]
        v = tl.where(keep, v, 0.0)
        a += tl.sum(v, 0)
        b += tl.sum(v * v, 0)
    to = part + (g * splits + s) * C + c
    tl.store(to, a, mask=c < C)
    tl.store(to + chunks * splits * C, b, mask=c < C)


@triton.jit(do_not_specialize=SIZES)
def statistics_kernel(x, part, found, eps, N, splits, units, UNIT: tl.constexpr,
                      WIDTH: tl.constexpr):  # fmt: skip
    """part (2, G, splits, C) -> found (3, G, C): mean, 1 / deviation, unbiased variance."""
    C = units * UNIT
    g, chunks = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    a = tl.zeros((WIDTH,), tl.float32)
    b = a
    for s in range(0, splits):
        of = part + (g * splits + s) * C + c
        a += tl.load(of, mask=c < C, other=0.0)
        b += tl.load(of + chunks * splits * C, mask=c < C, other=0.0)
    first = tl.load(x + g.to(tl.int64) * N * C + c, mask=c < C, other=0.0).to(tl.float32)
    a = a / N
    variance = tl.maximum(b / N - a * a, 0.0)
    to = found + g * C + c
    tl.store(to, first + a, mask=c < C)
    tl.store(to + chunks * C, 1 / tl.sqrt(variance + eps), mask=c < C)
    tl.store(to + 2 * chunks * C, variance * (N / (N - 1.0)), mask=c < C)


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(x, found, weight, bias, y, N, units, UNIT: tl.constexpr, ROWS: tl.constexpr,
                   WIDTH: tl.constexpr):  # fmt: skip
    """x (G, N, C) -> y of the same shape, normalised, scaled and shifted."""
    C = units * UNIT
    g, chunks = tl.program_id(2), tl.num_programs(2)
    at, c, keep = _tile(N, C, tl.program_id(0) * ROWS, WIDTH, ROWS)
    of = found + g * C + c
    mean = tl.load(of, mask=c < C, other=0.0)
    scale = tl.load(of + chunks * C, mask=c < C, other=0.0)
    scale *= tl.load(weight + c, mask=c < C, other=0.0)
    shift = tl.load(bias + c, mask=c < C, other=0.0)
    at += g.to(tl.int64) * N * C
    v = tl.load(x + at, mask=keep, other=0.0).to(tl.float32)
    v = (v - mean[None, :]) * scale[None, :] + shift[None, :]
    tl.store(y + at, v.to(y.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=SIZES)
def sums_kernel(grad, x, found, part, N, rows, units, splits, UNIT: tl.constexpr,
                ROWS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """part (2, G, splits, C): sums of the gradient, and of it times the normalised x."""
    C = units * UNIT
    s, g, chunks = tl.program_id(0), tl.program_id(2), tl.num_programs(2)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    of = found + g * C + c
    mean = tl.load(of, mask=c < C, other=0.0)
    scale = tl.load(of + chunks * C, mask=c < C, other=0.0)
    x += g.to(tl.int64) * N * C
    grad += g.to(tl.int64) * N * C
    a = tl.zeros((WIDTH,), tl.float32)
    b = a
    for start in range(s * rows, tl.minimum((s + 1) * rows, N), ROWS):
        at, _, keep = _tile(N, C, start, WIDTH, ROWS)
        keep = keep & (start + tl.arange(0, ROWS) < (s + 1) * rows)[:, None]
        d = tl.load(grad + at, mask=keep, other=0.0).to(tl.float32)
        v = tl.load(x + at, mask=keep, other=0.0).to(tl.float32)
        a += tl.sum(d, 0)
        b += tl.sum(d * (v - mean[None, :]), 0)
    to = part + (g * splits + s) * C + c
    tl.store(to, a, mask=c < C)
    tl.store(to + chunks * splits * C, b * scale, mask=c < C)


@triton.jit(do_not_specialize=SIZES)
def totals_kernel(part, total, splits, units, UNIT: tl.constexpr, WIDTH: tl.constexpr):
    """part (2, G, splits, C) -> total (2, G, C)."""
    C = units * UNIT
    g, chunks = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    a = tl.zeros((WIDTH,), tl.float32)
    b = a
    for s in range(0, splits):
        of = part + (g * splits + s) * C + c
        a += tl.load(of, mask=c < C, other=0.0)
        b += tl.load(of + chunks * splits * C, mask=c < C, other=0.0)
    tl.store(total + g * C + c, a, mask=c < C)
    tl.store(total + chunks * C + g * C + c, b, mask=c < C)


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(grad, x, found, weight, total, y, N, units, UNIT: tl.constexpr,
                    ROWS: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """The gradient of x (G, N, C)."""
    C = units * UNIT
    g, chunks = tl.program_id(2), tl.num_programs(2)
    at, c, keep = _tile(N, C, tl.program_id(0) * ROWS, WIDTH, ROWS)
    of = found + g * C + c
    mean = tl.load(of, mask=c < C, other=0.0)
    scale = tl.load(of + chunks * C, mask=c < C, other=0.0)
    a = tl.load(total + g * C + c, mask=c < C, other=0.0) / N
    b = tl.load(total + chunks * C + g * C + c, mask=c < C, other=0.0) / N * scale
    scale *= tl.load(weight + c, mask=c < C, other=0.0)
    at += g.to(tl.int64) * N * C
    d = tl.load(grad + at, mask=keep, other=0.0).to(tl.float32)
    v = tl.load(x + at, mask=keep, other=0.0).to(tl.float32) - mean[None, :]
    d = (d - a[None, :] - v * b[None, :]) * scale[None, :]
    tl.store(y + at, d.to(y.dtype.element_ty), mask=keep)


def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float, y: Tensor) -> Tensor:
    """Normalises (G, N, C), contiguous, into y: (3, G, C) of mean, 1 / deviation, variance."""
    chunks, count, channels = x.shape
    units, unit = _units(channels)
    splits, rows = _splits(x)
    part = x.new_empty((2, chunks, splits, channels), dtype=torch.float32)
    found = x.new_empty((3, chunks, channels), dtype=torch.float32)
    wide = _over(channels, WIDTH)
    moments_kernel[(splits, wide, chunks)](x, part, count, rows, units, splits, unit, ROWS, WIDTH)
    statistics_kernel[(chunks, wide)](x, part, found, eps, count, splits, units, unit, WIDTH)
    forward_kernel[(_over(count, ROWS), wide, chunks)](
        x, found, weight, bias, y, count, units, unit, ROWS, WIDTH
    )
    return found


def backward(grad: Tensor, x: Tensor, weight: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of x (G, N, C), and of bias and weight (2, C)."""
    chunks, count, channels = x.shape
    units, unit = _units(channels)
    splits, rows = _splits(x)
    part = x.new_empty((2, chunks, splits, channels), dtype=torch.float32)
    total = x.new_empty((2, chunks, channels), dtype=torch.float32)
    wide, y = _over(channels, WIDTH), torch.empty_like(x)
    sums_kernel[(splits, wide, chunks)](
        grad, x, found, part, count, rows, units, splits, unit, ROWS, WIDTH
    )
    totals_kernel[(chunks, wide)](part, total, splits, units, unit, WIDTH)
    backward_kernel[(_over(count, ROWS), wide, chunks)](
        grad, x, found, weight, total, y, count, units, unit, ROWS, WIDTH
    )
    return y, total.sum(1)


def _splits(x: Tensor) -> tuple[int, int]:
    """The programs that share a sum over the positions of a chunk, and the positions of each."""
    chunks, count, channels = x.shape
    wanted = max(1, PROGRAMS // (chunks * _over(channels, WIDTH)))
    rows = _over(_over(count, wanted), ROWS) * ROWS
    return _over(count, rows), rows


def _units(channels: int) -> tuple[int, int]:
    """The channels in units that can be loaded at once, and the size of a unit."""
    unit = gcd(channels, WIDE)
    return channels // unit, unit


def _over(whole: int, part: int) -> int:
    return -(-whole // part)
