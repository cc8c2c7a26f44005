"""Progressive expansion of a network along six axes, and contraction (X3D, 3.2, 3.3, A.3).

A network of the path is the base (X3D's X2D) with six factors. A step grows one of them so that
the cost is nearest to `rate` times the old one, in ratio:

    fast        frames x rate in the same duration
    temporal    frames x rate in 1.5 times the duration (at rate 2)
    spatial     the crop, by 8 px
    depth       blocks of each stage, by 0.05
    width       channels everywhere, by 0.05
    bottleneck  inner channels of each block, by 0.05

X3D prints factors instead (2.2, 2, 2.25, the root of 2) and says that they "roughly" double the
cost. Doubling it takes every printed crop, width and table of layers of the path from X2D to XXL;
the factors do not: width x 2 multiplies X2D's cost by 3.4.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

from autox3d.core.schema import table
from autox3d.core.values import Axis, ClipSpec, Count, CountedUnit, Positive
from autox3d.sizing.scaling import nearest
from autox3d.vision.arch.blocks import Group, round_to_8
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype

Price = Callable[[Genotype], float]
AXES: tuple[Axis, ...] = get_args(Axis)
TIME: tuple[Axis, ...] = ("fast", "temporal")
PIXELS, GRID = 8, Fraction(1, 20)  # steps of the crop and of a factor
SHORTER = 0.75  # of the stride, where X-Temporal doubles the frames
FARTHEST = 2  # a factor grows at most by this power of the rate
AS_IT_IS = (0.8, 1.02)  # of a target: a step in between needs no contraction


@table
class Factors:
    """How far a base has been expanded; the starting point has its frames, its crop, and ones."""

    frames: Count  # T
    stride: Positive  # tau, not yet rounded up; of a single frame: of the first two
    crop: Count  # px
    width: Positive  # gamma_w, times the base's channels
    bottleneck: Positive  # gamma_b, times the base's expansion
    depth: Positive  # gamma_d, times the base's blocks


class Reached(NamedTuple):
    """Where a path meets a target."""

    step: int  # of the path, from 0
    contract: bool  # whether the step is over the target and has to be contracted


def start(base: Genotype, stride: float) -> Factors:
    """The factors of the base itself.

    Args:
        base: the network to expand
        stride: source frames between the first two frames, where the base has only one
    """
    clip = base.input
    first = stride if clip.frames == 1 else clip.stride
    return Factors(
        frames=clip.frames, stride=first, crop=clip.crop, width=1.0, bottleneck=1.0, depth=1.0
    )


def network(base: Genotype, factors: Factors, name: str) -> Genotype:
    """The base with its factors: widths to multiples of 8, depths and strides rounded up.

    The head's first convolution follows the inner channels of the last block.
    """

    def wide(channels: int) -> int:
        return channels if factors.width == 1 else round_to_8(factors.width * channels)

    def group(row: Group) -> Group:
        return replace(
            row,
            channels=wide(row.channels),
            expansion=float(_exact(row.expansion) * _exact(factors.bottleneck)),
            blocks=math.ceil(_exact(factors.depth) * row.blocks),
        )

    made = replace(
        base,
        name=name,
        input=_clip(base, factors),
        stem=replace(base.stem, channels=wide(base.stem.channels)),
        groups=tuple(map(group, base.groups)),
    )
    inner = Fraction(made.blocks()[-1].inner, base.blocks()[-1].inner)
    channels = nearest(float(base.head.channels * inner))
    return replace(made, head=replace(base.head, channels=channels))


def jitter(base: Genotype, crop: int) -> tuple[int, int]:
    """The range of the shorter side in training, px: 8/7 and 10/7 of the crop for X2D's sides."""
    short = Fraction(base.input.short, base.input.crop)
    return _even(crop * short), _even(crop * short * Fraction(5, 4))


def priced(unit: CountedUnit, classes: int) -> Price:
    """What a step costs: G multiply-adds, M parameters, or MB of activations, of a centre crop."""

    def price(genotype: Genotype) -> float:
        found = cost(genotype, classes)
        by_unit = {"gmacs": found.gmacs, "params": found.params / 1e6}
        return by_unit[unit] if unit in by_unit else found.peak_bytes / 1e6

    return price


def grown(base: Genotype, factors: Factors, axis: Axis, price: Price, rate: float = 2.0) -> Factors:
    """The factors with one axis grown so that the price is nearest to `rate` times the old one.

    Of factors that make the same network it is the largest: a depth of 2.2, where 2.05 would do.

    Raises:
        ValueError: the price does not follow the axis, as parameters do not follow the crop.
    """

    def of(one: Factors) -> float:
        return price(network(base, one, base.name))

    target, values = rate * of(factors), list(_larger(factors, axis, rate))
    above = bisect.bisect_left(values, target, key=of)  # the first that costs at least as much
    near = [values[n] for n in (above - 1, above) if 0 <= n < len(values)]
    best = min(near, key=lambda one: abs(math.log(of(one) / target)))
    if abs(math.log(of(best) / target)) > math.log(rate) / 2:
        raise ValueError(f"'{axis}' cannot multiply the cost by {rate:g}")
    return values[bisect.bisect_right(values, of(best), key=of) - 1]


def candidates(
    base: Genotype,
    factors: Factors,
    price: Price,
    rate: float = 2.0,
    axes: Sequence[Axis] = AXES,
) -> dict[Axis, Factors]:
    """The networks of a step: one for each axis that the price follows.

    A single frame has no duration, so that `fast` and `temporal` are one candidate: the first.

    Raises:
        ValueError: the price follows no axis.
    """
    found: dict[Axis, Factors] = {}
    for axis in axes:
        if factors.frames == 1 and axis in TIME and not found.keys().isdisjoint(TIME):
            continue
        try:
            found[axis] = grown(base, factors, axis, price, rate)
        except ValueError:
            continue  # the axis is free, so that it has no candidate of the step's cost
    if not found:
        raise ValueError(f"no axis of {', '.join(axes)} can multiply the cost by {rate:g}")
    return found


def reached(costs: Sequence[float], target: float) -> Reached:
    """Which step of a path a target asks for, and whether it is to be contracted.

    A step up to 20 % below the target is taken as it is, one up to 2 % above too: X3D's XS has
    0.605 G for 0.6, its XL 35.84 for 40. Of larger gaps the next step is contracted, as for S.

    Raises:
        ValueError: the target is below the base, or above the last step.
    """
    least, most = AS_IT_IS
    below = [step for step, found in enumerate(costs) if found <= most * target]
    if not below:
        raise ValueError(f"the target {target:g} is below the base, which costs {costs[0]:.4g}")
    step = below[-1]
    if costs[step] >= least * target:
        return Reached(step, contract=False)
    if step + 1 == len(costs):
        last = f"the last step, which costs {costs[-1]:.4g}"
        raise ValueError(f"the target {target:g} is above {last}")
    return Reached(step + 1, contract=True)


def contracted(
    base: Genotype,
    factors: Factors,
    last: Axis,
    price: Price,
    target: float,
    axes: Literal["last", "all"] = "last",
) -> dict[Axis, Factors]:
    """Candidates for a network that is reduced along one axis to cost the target at most.

    Args:
        base: the base of the path
        factors: of the step that is over the target
        last: the axis which that step grew
        price: what is to meet the target
        target: the most that the network may cost
        axes: `last` alone, or `all` of them, which X3D tried for S

    Raises:
        ValueError: no reduction meets the target.
    """
    others: list[Axis] = [axis for axis in AXES[1:] if axis != last and not {axis, last} <= {*TIME}]
    found: dict[Axis, Factors] = {}
    tried: list[Axis] = [last, *others] if axes == "all" else [last]
    for axis in tried:
        for one in _smaller(base, factors, axis):
            if price(network(base, one, base.name)) <= target:
                found[axis] = one
                break
    if not found:
        which = f"'{last}'" if axes == "last" else "any axis"
        raise ValueError(f"no network reduced along {which} costs {target:g} at most")
    return found


def _larger(factors: Factors, axis: Axis, rate: float) -> Iterator[Factors]:
    """The values of an axis above the present one, as far as it may grow in a step."""
    if axis in TIME:
        frames = max(factors.frames + 1, nearest(rate * factors.frames))
        ratio = frames / factors.frames
        shorter = 1 / ratio if axis == "fast" else SHORTER ** math.log2(ratio)
        stride = factors.stride * (1 if factors.frames == 1 else shorter)
        yield replace(factors, frames=frames, stride=stride)
    elif axis == "spatial":
        for crop in range(factors.crop + PIXELS, nearest(rate * factors.crop) + 1, PIXELS):
            yield replace(factors, crop=crop)
    else:
        now = _exact(getattr(factors, axis))
        for step in range(1, math.ceil(now * (_exact(rate**FARTHEST) - 1) / GRID)):
            yield replace(factors, **{axis: float(now + step * GRID)})


def _smaller(base: Genotype, factors: Factors, axis: Axis) -> Iterator[Factors]:
    """The values of an axis from the present one down to the base's; frames in one duration."""
    if axis in TIME:
        duration = factors.frames * factors.stride
        for frames in range(factors.frames, max(1, base.input.frames), -1):
            yield replace(factors, frames=frames, stride=duration / frames)
    elif axis == "spatial":
        for crop in range(factors.crop, base.input.crop - 1, -PIXELS):
            yield replace(factors, crop=crop)
    else:
        now = _exact(getattr(factors, axis))
        for step in range(math.floor((now - 1) / GRID) + 1):
            yield replace(factors, **{axis: float(now - step * GRID)})


def _clip(base: Genotype, factors: Factors) -> ClipSpec:
    frames = factors.frames
    stride = base.input.stride if frames == 1 else math.ceil(round(factors.stride, 6))
    short, _ = jitter(base, factors.crop)
    return ClipSpec(frames=frames, stride=stride, crop=factors.crop, short=short)


def _exact(number: float) -> Fraction:
    """The decimal that is meant: 2.2 times 5 is 11, and not a little more as in floats."""
    return Fraction(str(round(number, 6)))


def _even(side: Fraction) -> int:
    """The nearest even number of pixels."""
    return 2 * nearest(float(side / 2))
