"""Depthwise 3D convolution by Triton, forward and both gradients, in memory of channels last.

    B clips, C channels, T frames, H x W pixels in, HO x WO pixels out, KT x KS x KS taps, S stride

Memory is (B, T, H, W, C). Sums are in float32 and in a fixed order, without atomic operations, so
that equal input gives equal bits. A strip is P neighbouring pixels of a row, for which a thread has
two channels and walks through all frames. A pixel that it loads serves all taps of time and of the
row that see it, in KT x P sums that stay in registers: a list of tensors, one for each.

The input's gradient at stride 2 is the same walk with the taps in reverse; a program's rows are all
even or all odd, so that it loads no tap in vain. A program of the weight's gradient sums one row of
taps over some strips; the sums of all programs are added up afterwards.

It needs the package `triton`, which PyTorch's wheels for CUDA bring. Where TRITON_INTERPRET is set
before it is imported, it computes on a CPU, slowly.
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
from autox3d.vision.kernels.triton_elementwise import THEN, activated, over, tile

SIZES = ["T", "H", "W", "HO", "WO", "units", "count"]  # compiled once, not for each divisor of them
PAIR = 2  # channels of a thread: more would leave too few registers for a strip
WARPS = 4  # of a program
THREADS = 32 * WARPS
HELD = 27  # taps that a thread holds in registers; of more, it loads a row of them when it needs it
SUMMING = 2048  # programs of the weight's gradient, about


@triton.jit
def _row_of_taps(w, C, kh, KT: tl.constexpr, KS: tl.constexpr):
    """The taps (KT x KS) of a row; w is (KT*KS*KS, C) from a thread's channels on."""
    taps = ()
    for k in tl.static_range(KT):
        for kw in tl.static_range(KS):
            taps += (tl.load(w + ((k * KS + kh) * KS + kw) * C),)
    return taps


@triton.jit
def _see(sums, x, taps, C, first, W, live, KT: tl.constexpr, KS: tl.constexpr, S: tl.constexpr,
         P: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """Adds a row of pixels to the sums (KT x P) of the frames that see it, the earliest first.

    `x` points to the pixels under the middle tap of the strip's first output, in column `first`.
    """
    Q: tl.constexpr = KS // 2
    for j in tl.static_range((P - 1) * S + KS):
        keep = live
        if not EVEN or j < Q or j > (P - 1) * S + Q:  # else some output's middle tap is there
            keep = keep & (first + (j - Q) >= 0) & (first + (j - Q) < W)
        v = tl.load(x + (j - Q) * C, mask=keep, other=0.0).to(tl.float32)
        seen = ()
        for k in tl.static_range(KT):
            for p in tl.static_range(P):
                one = sums[k * P + p]
                if j - p * S >= 0 and j - p * S < KS:
                    one += v * taps[(KT - 1 - k) * KS + j - p * S]
                seen += (one,)
        sums = seen
    return sums


@triton.jit
def _store(y, sums, C, there, first, WO, bias, P: tl.constexpr, EVEN: tl.constexpr,
           BIAS: tl.constexpr, THEN: tl.constexpr):  # fmt: skip
    """Stores a strip of a frame, with what follows."""
    for p in tl.static_range(P):
        v = sums[p] + bias if BIAS else sums[p]
        keep = there if EVEN else there & (first + p < WO)
        tl.store(y + p * C, activated(v, THEN).to(y.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(x, w, bias, y, T, H, W, HO, WO, units, count, UNIT: tl.constexpr,
                   KT: tl.constexpr, KS: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
                   EVEN: tl.constexpr, HOLD: tl.constexpr, BIAS: tl.constexpr, THEN: tl.constexpr,
                   THREADS: tl.constexpr):  # fmt: skip
    """x (B, T, H, W, C), w (KT*KS*KS, C), bias (C,) -> then(y + bias), y (B, T, HO, WO, C).

    `count` is that of strips times units of channels.
    """
    C = units * UNIT  # a product, from which the compiler knows how wide loads may be
    Q: tl.constexpr = KT // 2
    R: tl.constexpr = KS // 2
    i = tl.program_id(0) * THREADS + tl.arange(0, THREADS)
    there, i = (i < count)[:, None], tl.minimum(i, count - 1)
    strip, row = i // units, i // units // tl.cdiv(WO, P)
    wo, o, b = ((strip % tl.cdiv(WO, P)) * P)[:, None], (row % HO)[:, None], (row // HO)[:, None]
    c = (i % units)[:, None] * UNIT + tl.arange(0, UNIT)[None, :]
    x += b.to(tl.int64) * (T * H * W * C) + ((o * W + wo) * S * C + c)
    y += b.to(tl.int64) * (T * HO * WO * C) + ((o * WO + wo) * C + c)
    w += c
    zero = tl.zeros((THREADS, UNIT), tl.float32)
    sums, shift, taps = (zero,) * (KT * P), zero, ()
    if BIAS:
        shift = tl.load(bias + c).to(tl.float32)
    if HOLD:
        for kh in tl.static_range(KS):
            taps += _row_of_taps(w, C, kh, KT, KS)
    for t in range(0, T):
        if HOLD:
            for kh in tl.static_range(KS):
                h = o * S + (kh - R)
                live = (h >= 0) & (h < H)
                sums = _see(sums, x + (kh - R) * W * C, taps[kh * KT * KS : (kh + 1) * KT * KS],
                            C, wo * S, W, live, KT, KS, S, P, EVEN)  # fmt: skip
        else:
            for kh in range(0, KS):
                h = o * S + (kh - R)
                live = (h >= 0) & (h < H)
                sums = _see(sums, x + (kh - R) * W * C, _row_of_taps(w, C, kh, KT, KS),
                            C, wo * S, W, live, KT, KS, S, P, EVEN)  # fmt: skip
        x += H * W * C
        if t >= Q:
            _store(y, sums, C, there, wo, WO, shift, P, EVEN, BIAS, THEN)
            y += HO * WO * C
        sums = sums[P:] + (zero,) * P
    for q in tl.static_range(Q):
        if T + q >= Q:
            _store(y, sums, C, there, wo, WO, shift, P, EVEN, BIAS, THEN)
            y += HO * WO * C
        sums = sums[P:] + (zero,) * P


@triton.jit
def _see_back(sums, g, taps, C, first, WO, live, KT: tl.constexpr, KS: tl.constexpr,
              S: tl.constexpr, P: tl.constexpr):  # fmt: skip
    """Adds a row of gradients to those of the strip (KT x P) that they come from.

    `first` is the strip's first column, and `g` points to column `first // S` of the gradients.
    """
    Q: tl.constexpr = KS // 2
    for j in tl.static_range(-(Q // S), (P - 1 + Q) // S + 1):
        keep = live & (first // S + j >= 0) & (first // S + j < WO)
        v = tl.load(g + j * C, mask=keep, other=0.0).to(tl.float32)
        seen = ()
        for k in tl.static_range(KT):
            for p in tl.static_range(P):
                one = sums[k * P + p]
                if p + Q - S * j >= 0 and p + Q - S * j < KS:
                    one += v * taps[k * KS + p + Q - S * j]
                seen += (one,)
        sums = seen
    return sums


@triton.jit(do_not_specialize=SIZES)
def backward_kernel(g, w, y, T, H, W, HO, WO, units, count, UNIT: tl.constexpr, KT: tl.constexpr,
                    KS: tl.constexpr, S: tl.constexpr, P: tl.constexpr, EVEN: tl.constexpr,
                    THREADS: tl.constexpr):  # fmt: skip
    """g (B, T, HO, WO, C), w (KT*KS*KS, C) -> the input's gradient y (B, T, H, W, C).

    `count` is that of strips of every S-th row times units; P is a multiple of S.
    """
    C = units * UNIT
    Q: tl.constexpr = KT // 2
    odd = tl.program_id(1)
    i = tl.program_id(0) * THREADS + tl.arange(0, THREADS)
    strip, row = i // units, i // units // tl.cdiv(W, P)
    wi, b = ((strip % tl.cdiv(W, P)) * P)[:, None], (row // tl.cdiv(H, S))[:, None]
    h = ((row % tl.cdiv(H, S)) * S + odd)[:, None]
    c = (i % units)[:, None] * UNIT + tl.arange(0, UNIT)[None, :]
    there = (i < count)[:, None] & (h < H)
    above = (h + KS // 2) // S  # the row that its first tap leads to
    g += b.to(tl.int64) * (T * HO * WO * C) + ((above * WO + wi // S) * C + c)
    y += b.to(tl.int64) * (T * H * W * C) + ((h * W + wi) * C + c)
    w += c
    zero = tl.zeros((THREADS, UNIT), tl.float32)
    sums = (zero,) * (KT * P)
    for t in range(0, T):
        for kh in range((odd + KS // 2) % S, KS, S):
            o = above - kh // S
            live = there & (o >= 0) & (o < HO)
            sums = _see_back(sums, g - (kh // S) * WO * C, _row_of_taps(w, C, kh, KT, KS), C, wi,
                             WO, live, KT, KS, S, P)  # fmt: skip
        g += HO * WO * C
        if t >= Q:
            _store(y, sums, C, there, wi, W, zero, P, EVEN, False, 0)
            y += H * W * C
        sums = sums[P:] + (zero,) * P
    for q in tl.static_range(Q):
        if T + q >= Q:
            _store(y, sums, C, there, wi, W, zero, P, EVEN, False, 0)
            y += H * W * C
        sums = sums[P:] + (zero,) * P


@triton.jit
def _strip(g, C, live, first, WO, P: tl.constexpr, EVEN: tl.constexpr):
    """Loads a strip of gradients."""
    some = ()
    for p in tl.static_range(P):
        keep = live if EVEN else live & (first + p < WO)
        some += (tl.load(g + p * C, mask=keep, other=0.0).to(tl.float32),)
    return some


@triton.jit
def _meet(sums, x, some, C, first, W, live, KT: tl.constexpr, KS: tl.constexpr, S: tl.constexpr,
          P: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """Adds a row of pixels times the strips of gradients (KT x P) that see it, for each tap."""
    Q: tl.constexpr = KS // 2
    for j in tl.static_range((P - 1) * S + KS):
        keep = live
        if not EVEN or j < Q or j > (P - 1) * S + Q:
            keep = keep & (first + (j - Q) >= 0) & (first + (j - Q) < W)
        v = tl.load(x + (j - Q) * C, mask=keep, other=0.0).to(tl.float32)
        met = ()
        for k in tl.static_range(KT):
            for kw in tl.static_range(KS):
                one = sums[k * KS + kw]
                if j >= kw and (j - kw) % S == 0 and (j - kw) // S < P:
                    one += v * some[k * P + (j - kw) // S]
                met += (one,)
        sums = met
    return sums


@triton.jit(do_not_specialize=[*SIZES, "clips", "steps"])
def weights_kernel(x, g, part, T, H, W, HO, WO, units, clips, steps, UNIT: tl.constexpr,
                   KT: tl.constexpr, KS: tl.constexpr, S: tl.constexpr, P: tl.constexpr,
                   EVEN: tl.constexpr, STRIPS: tl.constexpr, BC: tl.constexpr):  # fmt: skip
    """x (B, T, H, W, C), g (B, T, HO, WO, C) -> part (programs, KT, KS, KS, C), to be summed.

    The programs of a strip's KS rows of taps are neighbours, since they read the same.
    """
    C = units * UNIT
    Q: tl.constexpr = KT // 2
    kh, number = tl.program_id(0) % KS, tl.program_id(0) // KS
    c = (tl.program_id(1) * BC + tl.arange(0, BC))[None, :]
    zero = tl.zeros((STRIPS, BC), tl.float32)
    sums = (zero,) * (KT * KS)
    for step in range(number * steps, (number + 1) * steps):
        strip = step * STRIPS + tl.arange(0, STRIPS)
        row = strip // tl.cdiv(WO, P)
        wo, o = ((strip % tl.cdiv(WO, P)) * P)[:, None], (row % HO)[:, None]
        b, h = (row // HO)[:, None], o * S + (kh - KS // 2)
        there = (c < C) & (b < clips)
        live = there & (h >= 0) & (h < H)
        at = x + (b.to(tl.int64) * (T * H * W * C) + ((h * W + wo * S) * C + c))
        to = g + (b.to(tl.int64) * (T * HO * WO * C) + ((o * WO + wo) * C + c))
        some = (zero,) * ((KT - Q) * P)  # of frames t + Q, the first, to t - Q
        for q in tl.static_range(Q):
            some = _strip(to + q * HO * WO * C, C, there & (q < T), wo, WO, P, EVEN) + some
        to += Q * HO * WO * C
        for t in range(0, T):
            new = _strip(to, C, there & (t + Q < T), wo, WO, P, EVEN)
            some = new + some[: (KT - 1) * P]
            sums = _meet(sums, at, some, C, wo * S, W, live, KT, KS, S, P, EVEN)
            at += H * W * C
            to += HO * WO * C
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    out = part + (number.to(tl.int64) * (KT * KS * KS) + kh * KS) * C + c
    for k in tl.static_range(KT):
        for kw in tl.static_range(KS):
            tl.store(out + (k * KS * KS + kw) * C, tl.sum(sums[k * KS + kw], 0), mask=c < C)


def forward(
    x: Tensor, weight: Tensor, stride: int, bias: Tensor | None = None, then: str = "none"
) -> Tensor:
    """Computes then(convolution + bias) with (C, 1, KT, KS, KS): (B, C, T, HO, WO).

    The padding is half the kernel.
    """
    x = channels_last(x)
    y = _empty(x, (*x.shape[:3], *(over(side, stride) for side in x.shape[3:])))
    how = forward_constants(weight, stride, y.shape[4])
    units = x.shape[1] // how["UNIT"]
    count = len(x) * y.shape[3] * over(y.shape[4], how["P"]) * units
    forward_kernel[(over(count, THREADS),)](
        x, _listed(weight), x if bias is None else bias, y, *x.shape[2:], *y.shape[3:], units,
        count, **how, BIAS=bias is not None, THEN=THEN[then], num_warps=WARPS,
    )  # fmt: skip
    return y


def input_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of `x`: (B, C, T, HO, WO) -> (B, C, T, H, W)."""
    if stride == 1:
        return forward(grad, weight.flip(2, 3, 4), 1)
    grad = channels_last(grad)
    y, how = _empty(grad, x.shape), backward_constants(weight, stride, x.shape[4])
    units = x.shape[1] // how["UNIT"]
    count = len(x) * over(x.shape[3], stride) * over(x.shape[4], how["P"]) * units
    backward_kernel[(over(count, THREADS), stride)](
        grad, _listed(weight), y, *x.shape[2:], *grad.shape[3:], units, count, **how,
        num_warps=WARPS,
    )  # fmt: skip
    return y


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of the weight, (C, 1, KT, KS, KS) in its type."""
    grad, x = channels_last(grad), channels_last(x)
    (clips, channels), (time, space) = x.shape[:2], weight.shape[2:4]
    how = weights_constants(weight, stride, grad.shape[4])
    wide = over(channels, how["BC"])
    some = over(clips * grad.shape[3] * over(grad.shape[4], how["P"]), how["STRIPS"])
    steps = over(some, max(1, SUMMING // (wide * space)))
    count = over(some, steps)
    parts = x.new_empty((count, time, space, space, channels), dtype=torch.float32)
    weights_kernel[(count * space, wide)](
        x, grad, parts, *x.shape[2:], *grad.shape[3:], channels // how["UNIT"], clips, steps, **how,
        num_warps=WARPS,
    )  # fmt: skip
    return parts.sum(0).movedim(-1, 0).unsqueeze(1).to(weight.dtype).contiguous()


def _empty(like: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    return torch.empty(
        size, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d
    )


def _listed(weight: Tensor) -> Tensor:
    """The taps as a kernel reads them: (KT*KS*KS, C) in float32."""
    return weight.float().flatten(1).t().contiguous()


def forward_constants(weight: Tensor, stride: int, width: int) -> dict[str, int]:
    """What the forward kernel is compiled for at a weight, a stride and outputs of a width.

    Of t1_s5 a thread holds no taps: a row of them is enough work for each time that it loads it.
    """
    hold = weight[0].numel() <= HELD and weight.shape[3] < 5
    how = {**_sizes(weight, stride), **_strips(stride, width)}
    return {**how, "HOLD": int(hold), "THREADS": THREADS}


def backward_constants(weight: Tensor, stride: int, width: int) -> dict[str, int]:
    """The same of the input's gradient at stride 2, for inputs of a width."""
    length = 2 * stride
    strips = {"P": length, "EVEN": int(width % length == 0)}
    return {**_sizes(weight, stride), **strips, "THREADS": THREADS}


def weights_constants(weight: Tensor, stride: int, width: int) -> dict[str, int]:
    """The same of the weight's gradient: a program has two numbers for each of its threads."""
    _, cells = tile(len(weight))
    strips = {"STRIPS": PAIR * THREADS // cells, "BC": cells}
    return {**_sizes(weight, stride), **_strips(stride, width), **strips}


def _sizes(weight: Tensor, stride: int) -> dict[str, int]:
    channels, _, time, space, _ = weight.shape
    return {"UNIT": gcd(channels, PAIR), "KT": time, "KS": space, "S": stride}


def _strips(stride: int, width: int) -> dict[str, int]:
    """The length of strips that leaves the fewest places empty, and whether it leaves none."""
    lengths = (5, 4, 3) if stride == 1 else (4,)  # each is compiled for itself
    length = min(lengths, key=lambda one: over(width, one) * one)
    return {"P": length, "EVEN": int(width % length == 0)}
