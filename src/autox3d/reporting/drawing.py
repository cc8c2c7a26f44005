"""The picture of a genotype: blocks, widths, kernels, attention, and costs.

Each block is a bar with the height of its output channels, on a paler one for its inner channels.
The colour shows how many frames the depthwise kernel spans; dots mean 5x5 pixels instead of 3x3.
The multiply-adds of each group are below.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.reporting.svg import BLUE, GREEN, INK, MUTED, ORANGE, RULE, STYLE
from autox3d.vision.arch.blocks import kernel_size
from autox3d.vision.arch.cost import Cost
from autox3d.vision.arch.genotype import Genotype

FRAMES = {1: BLUE, 3: GREEN, 5: ORANGE}  # colours by the frames that a kernel spans
FORMATS = ("svg", "png")


def draw(genotype: Genotype, cost: Cost, path: Path) -> None:
    """Writes the picture as .svg or .png; the bytes are reproducible.

    Raises:
        Refused: the file name has another extension.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise Refused(f"{path}: pictures are .svg or .png. Name the file so.")
    with mpl.rc_context(STYLE), atomic.replacing(path) as part:  # pyright: ignore[reportArgumentType]
        figure = Figure(figsize=(9.6, 4.4))
        paint(figure, genotype, cost)
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        figure.savefig(part, format=form, dpi=200, metadata=metadata)


def paint(figure: Figure, genotype: Genotype, cost: Cost) -> None:
    """Draws the picture on an empty figure."""
    blocks, costs = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = _paint_blocks(blocks, genotype)
    _paint_stages(blocks, genotype, cost, edges)
    for number, (left, right) in enumerate(edges):
        part = cost.parts[number + 1]
        costs.bar((left + right) / 2, part.macs / 1e6, right - left - 0.4, color=MUTED)
    costs.set_ylabel("M multiply-adds")
    costs.set_xticks([(left + right) / 2 for left, right in edges])
    costs.set_xticklabels([f"{group.kernel}\n{group.expansion:g}" for group in genotype.groups])
    costs.grid(axis="x", visible=False)
    costs.set_xlabel("group: depthwise kernel, expansion")
    figure.suptitle(
        f"{genotype.name}: {cost.gmacs:.3g} G multiply-adds at {cost.frames}x{cost.crop}²,"
        f" {cost.params / 1e6:.2f} M parameters",
        color=INK,
        fontsize=10,
    )


def _paint_blocks(axes: Axes, genotype: Genotype) -> list[tuple[float, float]]:
    """Draws the bars; returns the start and end of each group on the x axis."""
    edges: list[tuple[float, float]] = []
    x, row = 0.0, -1
    for block in genotype.blocks():
        if block.group != row:
            row, x = block.group, x + 0.6
            edges.append((x - 0.5, x))
        time, space = block.kernel
        colour, hatch = FRAMES[time], ".." if space == 5 else None
        axes.bar(x, block.inner, 0.8, color=colour, alpha=0.3)
        axes.bar(x, block.channels, 0.8, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
        if block.gate:
            axes.plot(x, block.inner, marker="_", color=INK, markersize=6)
        if block.attention != "none":
            axes.plot(x + 0.5, block.inner, marker="D", color=INK, markersize=5)
            axes.annotate(
                block.attention, (x + 0.5, block.inner), (4, 4), textcoords="offset points"
            )
        edges[-1] = edges[-1][0], x + 0.5
        x += 1
    axes.set_ylabel("channels: out, inner")
    axes.set_xlim(-0.4, x)
    axes.grid(axis="x", visible=False)
    axes.tick_params(labelbottom=False)
    _legend(axes, genotype)
    return edges


def _legend(axes: Axes, genotype: Genotype) -> None:
    kernels = {kernel_size(group.kernel) for group in genotype.groups}
    keys: list[Artist] = [
        Patch(facecolor=FRAMES[time], label=f"{time} frame{'s' * (time > 1)}")
        for time in sorted({time for time, _ in kernels})
    ]
    if 5 in {space for _, space in kernels}:
        keys.append(Patch(facecolor=MUTED, hatch="..", edgecolor="white", label="5x5 px"))
    keys.append(Line2D([], [], linestyle="", marker="_", color=INK, label="squeeze-excite"))
    axes.legend(handles=keys, loc="upper left")


def _paint_stages(
    axes: Axes, genotype: Genotype, cost: Cost, edges: list[tuple[float, float]]
) -> None:
    """Draws a line at the beginning of each stage, with the size of its output."""
    top = axes.get_ylim()[1]
    for number, (left, _) in enumerate(edges):
        if genotype.groups[number].stride == 2 or number == 0:
            axes.axvline(left - 0.05, color=RULE, linewidth=1)
            side = cost.parts[number + 1].side
            axes.annotate(
                f"{cost.frames}x{side}²",
                (left, top),
                (2, 2),
                color=MUTED,
                textcoords="offset points",
            )
