"""Depthwise 3D convolution by Triton, forward and both gradients, in memory of channels last.

    B clips, C channels, T frames, H x W pixels in, HO x WO pixels out, KT x KS x KS taps, S stride

Memory is (B, T, H, W, C). Sums are in float32 and in a fixed order, without atomic operations, so
that equal input gives equal bits. A program of the forward pass has BW outputs of a row by BC
channels and walks through all frames; a frame that is loaded serves all KT outputs that see it. The
input's gradient at stride 2 is the same walk with the taps in reverse; a program's columns are all
even or all odd, so that it loads no tap in vain. A program of the weight's gradient sums one row of
taps over some rows of a clip; the sums of all programs are added up afterwards.

It needs the package `triton`, which PyTorch's wheels for CUDA bring. Where TRITON_INTERPRET is set
before it is imported, it computes on a CPU, slowly.
"""
# ruff: noqa: N803, N806  # constants of a kernel are capitals, as in Triton's own code
# pyright: reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from autox3d.vision.kernels.reference import channels_last
from autox3d.vision.kernels.triton_elementwise import THEN, activated, in_units, over

SIZES = ["T", "H", "W", "HO", "WO", "units", "rows"]  # compiled once, not for each divisor of them
UNROLLED = 27  # taps; of more, not all fit into registers, and the loop over their rows stays one
ROWS = 4  # of outputs that a program of `weights_kernel` takes


@triton.jit
def _add(a0, a1, a2, a3, a4, v, tap, step, cm, KT: tl.constexpr):
    """Adds pixels (BW, BC), each times its tap, to the sums of the KT outputs that see them."""
    a0 += v * tl.load(tap, mask=cm, other=0.0)[None, :]
    if KT > 1:
        a1 += v * tl.load(tap + step, mask=cm, other=0.0)[None, :]
        a2 += v * tl.load(tap + 2 * step, mask=cm, other=0.0)[None, :]
    if KT > 3:
        a3 += v * tl.load(tap + 3 * step, mask=cm, other=0.0)[None, :]
        a4 += v * tl.load(tap + 4 * step, mask=cm, other=0.0)[None, :]
    return a0, a1, a2, a3, a4


@triton.jit
def _next(a0, a1, a2, a3, a4, zero, KT: tl.constexpr):
    """Moves the sums on by a frame, once the first is stored."""
    if KT == 1:
        a0 = zero
    if KT == 3:
        a0, a1, a2 = a1, a2, zero
    if KT == 5:
        a0, a1, a2, a3, a4 = a1, a2, a3, a4, zero
    return a0, a1, a2, a3, a4


@triton.jit
def _store(a0, a1, a2, a3, a4, to, step, keep, KT: tl.constexpr):
    """Stores the sums (KP, BW, BC) of KT frames, summed over BW, a step from frame to frame."""
    tl.store(to, tl.sum(a0, 1), mask=keep)
    if KT > 1:
        tl.store(to + step, tl.sum(a1, 1), mask=keep)
        tl.store(to + 2 * step, tl.sum(a2, 1), mask=keep)
    if KT > 3:
        tl.store(to + 3 * step, tl.sum(a3, 1), mask=keep)
        tl.store(to + 4 * step, tl.sum(a4, 1), mask=keep)


@triton.jit
def _see(a0, a1, a2, a3, a4, x, w, h, live, kh, wo, wm, c, cm, W, C,
         KT: tl.constexpr, KS: tl.constexpr, S: tl.constexpr):  # fmt: skip
    """Adds one row of a frame, `x` its frame, `kh` its row of taps."""
    Z = KS * KS * C  # from a tap to that of the next frame
    for kw in tl.static_range(KS):
        wi = wo * S + kw - KS // 2
        keep = (wm & (wi >= 0) & (wi < W) & live)[:, None] & cm[None, :]
        at = x + (h * W + wi[:, None]) * C + c[None, :]
        v = tl.load(at, mask=keep, other=0.0).to(tl.float32)
        last = w + (KT - 1) * Z + (kh * KS + kw) * C + c
        a0, a1, a2, a3, a4 = _add(a0, a1, a2, a3, a4, v, last, -Z, cm, KT)
    return a0, a1, a2, a3, a4


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(x, w, bias, y, T, H, W, HO, WO, units, UNIT: tl.constexpr, KT: tl.constexpr,
                   KS: tl.constexpr, S: tl.constexpr, BW: tl.constexpr, BC: tl.constexpr,
                   UNROLL: tl.constexpr, BIAS: tl.constexpr, THEN: tl.constexpr):  # fmt: skip
    """x (B, T, H, W, C), w (KT*KS*KS, C), bias (C,) -> then(y + bias), y (B, T, HO, WO, C)."""
    C = units * UNIT  # a product, from which the compiler knows how wide loads may be
    Q: tl.constexpr = KT // 2
    tiles = tl.cdiv(WO, BW)
    row, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    b, o = row // HO, row % HO
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    wo = tile * BW + tl.arange(0, BW)
    cm, wm = c < C, wo < WO
    x += b.to(tl.int64) * (T * H * W * C)
    y += b.to(tl.int64) * (T * HO * WO * C) + o * WO * C
    zero = tl.zeros((BW, BC), tl.float32)
    a0, a1, a2, a3, a4 = zero, zero, zero, zero, zero
    for t in range(0, T + Q):
        frame = x + t * H * W * C
        if UNROLL:
            for kh in tl.static_range(KS):
                h = o * S + kh - KS // 2
                live = (h >= 0) & (h < H) & (t < T)
                a0, a1, a2, a3, a4 = _see(a0, a1, a2, a3, a4, frame, w, h, live, kh, wo, wm, c,
                                          cm, W, C, KT, KS, S)  # fmt: skip
        else:
            for kh in range(0, KS):
                h = o * S + kh - KS // 2
                live = (h >= 0) & (h < H) & (t < T)
                a0, a1, a2, a3, a4 = _see(a0, a1, a2, a3, a4, frame, w, h, live, kh, wo, wm, c,
                                          cm, W, C, KT, KS, S)  # fmt: skip
        if t >= Q:
            to = y + (t - Q) * HO * WO * C + wo[:, None] * C + c[None, :]
            v = a0
            if BIAS:
                v += tl.load(bias + c, mask=cm, other=0.0).to(tl.float32)[None, :]
            v = activated(v, THEN)
            tl.store(to, v.to(y.dtype.element_ty), mask=wm[:, None] & cm[None, :])
        a0, a1, a2, a3, a4 = _next(a0, a1, a2, a3, a4, zero, KT)


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(g, w, y, T, H, W, HO, WO, units, UNIT: tl.constexpr, KT: tl.constexpr,
                    KS: tl.constexpr, S: tl.constexpr, BW: tl.constexpr,
                    BC: tl.constexpr):  # fmt: skip
    """g (B, T, HO, WO, C), w (KT*KS*KS, C) -> the input's gradient y (B, T, H, W, C)."""
    C = units * UNIT
    Q: tl.constexpr = KT // 2
    Z = KS * KS * C
    tiles = tl.cdiv(tl.cdiv(W, S), BW)
    odd, place = tl.program_id(0) % S, tl.program_id(0) // S
    row, tile = place // tiles, place % tiles
    b, h = row // H, row % H
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    wi = (tile * BW + tl.arange(0, BW)) * S + odd
    cm, wm = c < C, wi < W
    g += b.to(tl.int64) * (T * HO * WO * C)
    y += b.to(tl.int64) * (T * H * W * C) + h * W * C
    zero = tl.zeros((BW, BC), tl.float32)
    a0, a1, a2, a3, a4 = zero, zero, zero, zero, zero
    for t in range(0, T + Q):
        for kh in range(0, KS):
            above = h + KS // 2 - kh
            o = above // S
            live = (above >= 0) & (above % S == 0) & (o < HO) & (t < T)
            if live:
                for kw in tl.static_range(KS):
                    if (odd + KS // 2 + S * KS - kw) % S == 0:
                        left = wi + KS // 2 - kw
                        wo = left // S
                        keep = (wm & (left >= 0) & (wo < WO))[:, None] & cm[None, :]
                        at = g + ((t * HO + o) * WO + wo[:, None]) * C + c[None, :]
                        v = tl.load(at, mask=keep, other=0.0).to(tl.float32)
                        first = w + (kh * KS + kw) * C + c
                        a0, a1, a2, a3, a4 = _add(a0, a1, a2, a3, a4, v, first, Z, cm, KT)
        if t >= Q:
            to = y + (t - Q) * H * W * C + wi[:, None] * C + c[None, :]
            tl.store(to, a0.to(y.dtype.element_ty), mask=wm[:, None] & cm[None, :])
        a0, a1, a2, a3, a4 = _next(a0, a1, a2, a3, a4, zero, KT)


@triton.jit(do_not_specialize=SIZES)
def weights_kernel(x, g, part, T, H, W, HO, WO, units, rows, UNIT: tl.constexpr, KT: tl.constexpr,
                   KS: tl.constexpr, S: tl.constexpr, KP: tl.constexpr, BW: tl.constexpr,
                   BC: tl.constexpr):  # fmt: skip
    """x (B, T, H, W, C), g (B, T, HO, WO, C) -> part (programs, KT, KS, KS, C), to be summed."""
    C = units * UNIT
    slabs = tl.cdiv(HO, rows)
    number, kh = tl.program_id(0), tl.program_id(2)
    b, slab = number // slabs, number % slabs
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    kw = tl.arange(0, KP)  # KS of them count: a tile has a power of two
    cm = c < C
    x += b.to(tl.int64) * (T * H * W * C)
    g += b.to(tl.int64) * (T * HO * WO * C)
    a0 = tl.zeros((KP, BW, BC), tl.float32)
    a1, a2, a3, a4 = a0, a0, a0, a0
    for step in range(0, rows * tl.cdiv(WO, BW)):
        o = slab * rows + step % rows
        wo = (step // rows) * BW + tl.arange(0, BW)
        wm = (wo < WO) & (o < HO)
        h = o * S + kh - KS // 2
        wi = wo[None, :] * S + kw[:, None] - KS // 2
        inside = wm[None, :] & (wi >= 0) & (wi < W) & (kw < KS)[:, None] & (h >= 0) & (h < H)
        xm = inside[:, :, None] & cm[None, None, :]
        gm = wm[:, None] & cm[None, :]
        xp = x + (h * W + wi[:, :, None]) * C + c[None, None, :]
        gp = g + (o * WO + wo[:, None]) * C + c[None, :]
        for t in range(0, T):
            v = tl.load(xp + t * H * W * C, mask=xm, other=0.0).to(tl.float32)
            for k in tl.static_range(KT):
                to = t - k + KT // 2
                d = tl.load(gp + to * HO * WO * C, mask=gm & (to >= 0) & (to < T), other=0.0)
                d = d.to(tl.float32)[None, :, :]
                if k == 0:
                    a0 += v * d
                if k == 1:
                    a1 += v * d
                if k == 2:
                    a2 += v * d
                if k == 3:
                    a3 += v * d
                if k == 4:
                    a4 += v * d
    Z = KS * KS * C
    out = part + number.to(tl.int64) * (KT * Z) + (kh * KS + kw[:, None]) * C + c[None, :]
    om = (kw < KS)[:, None] & cm[None, :]
    _store(a0, a1, a2, a3, a4, out, Z, om, KT)


def forward(
    x: Tensor, weight: Tensor, stride: int, bias: Tensor | None = None, then: str = "none"
) -> Tensor:
    """Computes then(convolution + bias) with (C, 1, KT, KS, KS): (B, C, T, HO, WO).

    The padding is half the kernel.
    """
    x = channels_last(x)
    size = *x.shape[:3], *(-(-side // stride) for side in x.shape[3:])
    y = _empty(x, size)
    taps, columns, cells = tile(weight)
    grid = (x.shape[0] * y.shape[3] * over(y.shape[4], columns), over(x.shape[1], cells))
    forward_kernel[grid](
        x, _listed(weight), x if bias is None else bias, y, *x.shape[2:], *y.shape[3:], *_units(x),
        *weight.shape[2:4], stride, columns, cells, taps <= UNROLLED, bias is not None, THEN[then],
        num_warps=4,
    )  # fmt: skip
    return y


def input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of `x`: (B, C, T, HO, WO) -> (B, C, T, H, W)."""
    if stride == 1:
        return forward(grad, weight.flip(2, 3, 4), 1)
    grad = channels_last(grad)
    y = _empty(grad, x.shape)
    _, columns, cells = tile(weight)
    part = over(x.shape[4], stride)
    grid = (x.shape[0] * x.shape[3] * over(part, columns) * stride, over(x.shape[1], cells))
    backward_kernel[grid](
        grad, _listed(weight), y, *x.shape[2:], *grad.shape[3:], *_units(x), *weight.shape[2:4],
        stride, columns, cells, num_warps=4,
    )  # fmt: skip
    return y


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of the weight, (C, 1, KT, KS, KS) in its type."""
    grad, x = channels_last(grad), channels_last(x)
    clips, channels = x.shape[:2]
    time, space = weight.shape[2:4]
    (units, unit), rows, sizes = _units(x), min(ROWS, grad.shape[3]), weights_tile(space)
    count = clips * over(grad.shape[3], rows)
    parts = x.new_empty((count, time, space, space, channels), dtype=torch.float32)
    weights_kernel[(count, over(channels, sizes["BC"]), space)](
        x, grad, parts, *x.shape[2:], *grad.shape[3:], units, rows, unit, time, space, stride,
        **sizes, num_warps=4,
    )  # fmt: skip
    return parts.sum(0).movedim(-1, 0).unsqueeze(1).to(weight.dtype).contiguous()


def _empty(like: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    return torch.empty(
        size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d
    )


def _listed(weight: Tensor) -> Tensor:
    """The taps as a kernel reads them: (KT*KS*KS, C) in float32."""
    return weight.float().flatten(1).t().contiguous()


def tile(weight: Tensor) -> tuple[int, int, int]:
    """The taps; and the columns and channels of a program, fewer where there are more taps."""
    taps = weight[0].numel()
    if taps <= UNROLLED:
        return taps, 8, 64
    return (taps, 8, 32) if taps <= 45 else (taps, 4, 32)


def weights_tile(space: int) -> dict[str, int]:
    """The taps of a row, rounded up to a power of two; columns and channels, which are summed."""
    return {"KP": triton.next_power_of_2(space), "BW": 8, "BC": 32}


def _units(x: Tensor) -> tuple[int, int]:
    return in_units(x.shape[1])
