"""Attention units without torch: costs and layer names. `vision.models.attention` has the modules.

    C channels, L cells (frames times positions), M nodes of GloRe

To add a kind, add an entry here and a class there, both under the name that genotypes use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from autox3d.vision.arch.account import Layer, conv, product


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The costs and layer names of a kind of attention; `nodes` is the genotype's setting.

    The supernet slices a unit's weights by letters: the first letter of a layer names the set of
    channels that indexes its rows, the second the set that indexes its columns. O is the block's
    channels out; the other letters belong to the unit, and no two kinds share one.
    """

    layers: Callable[[int, float, int], Iterator[Layer]]  # (C, nodes, L) -> layers in order
    peak: Callable[[int, float], int] = lambda channels, nodes: 0  # elements per cell
    cuts: Mapping[str, str] = field(default_factory=dict)  # layer -> letters
    sizes: Callable[[Fraction, Fraction], dict[str, int]] = lambda width, nodes: {}
    """(channels of a part, nodes) -> the size of a part for each of the unit's own letters."""
    mistake: Callable[[Fraction, Fraction, int], str] = lambda width, nodes, parts: ""
    """(channels of a part, nodes, parts of the widest) -> why slicing is impossible, or ""."""


def unit(kind: str) -> Unit:
    """Looks up a kind of attention by its name.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in UNITS:
        raise ValueError(f"unknown attention '{kind}'. Known: {', '.join(UNITS)}.")
    return UNITS[kind]


def node_count(channels: int, nodes: float) -> int:
    """The number of GloRe's graph nodes, M; each has twice as many states."""
    return max(1, round(channels * nodes))


def _glore(channels: int, nodes: float, cells: int) -> Iterator[Layer]:
    width = node_count(channels, nodes)
    states = 2 * width
    yield conv(channels, states, cells, bias=True)
    yield conv(channels, width, cells, bias=True)
    yield product(states, cells, width)  # positions to nodes
    yield conv(width, width, states, bias=True)  # between nodes, for each state
    yield conv(states, states, width)  # between states, for each node
    yield product(states, width, cells)  # nodes to positions
    yield conv(states, channels, cells, norm=True)


def _glore_mistake(width: Fraction, nodes: Fraction, parts: int) -> str:
    if (width * nodes).denominator == 1:
        return ""
    return (
        f"{float(width):g} channels times {float(nodes):g} make {float(width * nodes):g} graph"
        " nodes a part, not a whole number. Choose coarser steps."
    )


def _nonlocal(channels: int, nodes: float, cells: int) -> Iterator[Layer]:
    inner = channels // 2
    for _ in ("theta", "phi", "g"):
        yield conv(channels, inner, cells, bias=True)
    yield product(cells, inner, cells)  # similarity of each pair of positions
    yield product(cells, cells, inner)  # weighted sum for each position
    yield conv(inner, channels, cells, bias=True, norm=True)


def _nonlocal_mistake(width: Fraction, nodes: Fraction, parts: int) -> str:
    if parts == 1 or width % 2 == 0:
        return ""
    return (
        f"'nonlocal' works on half of the channels, and {float(width):g} a part are odd."
        " Choose even steps."
    )


UNITS: dict[str, Unit] = {
    "none": Unit(layers=lambda channels, nodes, cells: iter(())),
    "glore": Unit(
        layers=_glore,
        peak=lambda channels, nodes: channels + 5 * node_count(channels, nodes),
        cuts={  # M nodes, S states
            "states": "SO",
            "nodes": "MO",
            "mix": "MM",
            "update": "SS",
            "extend.conv": "OS",
            "extend.norm": "O",
        },
        sizes=lambda width, nodes: {"M": int(width * nodes), "S": 2 * int(width * nodes)},
        mistake=_glore_mistake,
    ),
    "nonlocal": Unit(
        layers=_nonlocal,
        peak=lambda channels, nodes: channels + 4 * (channels // 2),  # L x L is never held
        cuts={  # H half of the channels
            "theta": "HO",
            "phi": "HO",
            "g": "HO",
            "out": "OH",
            "norm": "O",
        },
        sizes=lambda width, nodes: {"H": int(width) // 2},
        mistake=_nonlocal_mistake,
    ),
}

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(UNITS)]
