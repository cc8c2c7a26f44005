"""Fusions without torch: how the dense stream's features enter the sparse one, and what it costs.

`vision.models.fusion` has the modules. The sources are Auto-TSNet's supplement, 2, and SlowFast,
arXiv:1812.03982, 3.3; docs/PAPER.md says what is our reading.

    C_D, T_D channels and frames of the dense stream; C_S, T_S of the sparse one
    alpha    T_D / T_S
    S        positions of a frame, the same in both streams

To add a kind, add an entry here and a class there, both under the name that genotypes use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from autox3d.vision.arch.account import Layer, conv

REACH = 5  # frames that the time-strided convolution spans
SKIP = "skip"
Cells = tuple[int, int]  # T_D * S, T_S * S


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """The costs and layer names of a kind of fusion.

    The supernet slices its weights by letters, as those of a block: O is the set of the sparse
    stream's channels, D that of the dense one's, A that of their frames side by side.
    """

    layers: Callable[[int, int, int, Cells], Iterator[Layer]]  # (C_D, C_S, alpha, cells) -> layers
    held: Callable[[int, int, Cells], int] = lambda dense, sparse, cells: 0
    """(C_D, C_S, cells) -> elements that it makes and holds at once, beside both streams."""
    cuts: Mapping[str, str] = field(default_factory=dict)  # layer -> letters


def fusion(kind: str) -> Fusion:
    """Looks up a kind of fusion by its name.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in FUSIONS:
        raise ValueError(f"unknown fusion '{kind}'. Known: {', '.join(FUSIONS)}.")
    return FUSIONS[kind]


def _conv(dense: int, sparse: int, alpha: int, cells: Cells) -> Iterator[Layer]:
    """Yields 5x1x1, dense, with stride alpha over time, and 1x1x1."""
    yield conv(REACH * dense, dense, cells[1])
    yield conv(dense, sparse, cells[1], norm=True)


def _sample(dense: int, sparse: int, alpha: int, cells: Cells) -> Iterator[Layer]:
    """Yields 1x1x1 on every alpha-th frame."""
    yield conv(dense, sparse, cells[1], norm=True)


def _channels(dense: int, sparse: int, alpha: int, cells: Cells) -> Iterator[Layer]:
    """Yields 1x1x1 on alpha frames side by side."""
    yield conv(alpha * dense, sparse, cells[1], norm=True)


FUSIONS: dict[str, Fusion] = {
    SKIP: Fusion(layers=lambda dense, sparse, alpha, cells: iter(())),
    "conv": Fusion(  # time-strided convolution
        layers=_conv,
        held=lambda dense, sparse, cells: (dense + sparse) * cells[1],
        cuts={"time": "DD", "point.conv": "OD", "point.norm": "O"},
    ),
    "sample": Fusion(  # time-strided sampling
        layers=_sample,
        held=lambda dense, sparse, cells: (dense + sparse) * cells[1],
        cuts={"point.conv": "OD", "point.norm": "O"},
    ),
    "channels": Fusion(  # time to channel
        layers=_channels,
        held=lambda dense, sparse, cells: dense * cells[0] + sparse * cells[1],
        cuts={"point.conv": "OA", "point.norm": "O"},
    ),
}

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(FUSIONS)]
