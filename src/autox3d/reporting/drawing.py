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
from autox3d.vision.arch.cost import Cost, Part
from autox3d.vision.arch.genotype import Genotype, Stream

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
    """Draws the picture on an empty figure: a column for each stream."""
    streams, parts = genotype.streams, {part.name: part for part in cost.parts}
    panels = figure.subplots(
        2, len(streams), squeeze=False, sharex="col", sharey="row", height_ratios=(3, 1)
    )
    columns = zip(streams, panels[0], panels[1], strict=True)
    for number, (stream, blocks, costs) in enumerate(columns):
        edges = _paint_blocks(blocks, genotype, stream)
        _paint_costs(costs, stream, parts, edges)
        if number == 0:
            blocks.set_ylabel("channels: out, inner")
            costs.set_ylabel("M multiply-adds")
            _legend(blocks, genotype)
        if len(streams) > 1:
            every = f", every {stream.every}th frame" if stream.every > 1 else ""
            blocks.set_title(f"{stream.name} stream{every}", color=INK, fontsize=9, pad=16)
    for stream, blocks, edges in zip(streams, panels[0], map(_edges, streams), strict=True):
        _paint_stages(blocks, stream, parts, edges)  # when the height of the axis is known
    figure.suptitle(
        f"{genotype.name}: {cost.gmacs:.3g} G multiply-adds at {cost.frames}x{cost.crop}²,"
        f" {cost.params / 1e6:.2f} M parameters",
        color=INK,
        fontsize=10,
    )


def _paint_costs(
    costs: Axes, stream: Stream, parts: dict[str, Part], edges: list[tuple[float, float]]
) -> None:
    """Draws the multiply-adds of each group, and on them those of the fusion before it."""
    for number, (left, right) in enumerate(edges, 1):
        middle, width = (left + right) / 2, right - left - 0.4
        own = parts[_named(stream, number)].macs / 1e6
        costs.bar(middle, own, width, color=MUTED)
        if stream.name == "dense" and (fusion := parts.get(f"fusion {number}")):
            costs.bar(middle, fusion.macs / 1e6, width, bottom=own, color=INK)
    costs.set_xticks([(left + right) / 2 for left, right in edges])
    names = [f"{group.kernel}\n{group.expansion:g}" for group in stream.groups]
    if stream.name == "dense":
        names = [f"{n}\n{group.fuse}" for n, group in zip(names, stream.groups, strict=True)]
    costs.set_xticklabels(names)
    costs.grid(axis="x", visible=False)
    fused = ", fusion before it" if stream.name == "dense" else ""
    costs.set_xlabel(f"group: depthwise kernel, expansion{fused}")


def _named(stream: Stream, number: int) -> str:
    """The name of a group's part in the account of costs."""
    return f"dense group {number}" if stream.name == "dense" else f"group {number}"


def _edges(stream: Stream) -> list[tuple[float, float]]:
    """The start and end of each group on the x axis, with a gap before each."""
    edges: list[tuple[float, float]] = []
    x = 0.0
    for group in stream.groups:
        x += 0.6
        edges.append((x - 0.5, x + group.blocks - 0.5))
        x += group.blocks
    return edges


def _paint_blocks(axes: Axes, genotype: Genotype, stream: Stream) -> list[tuple[float, float]]:
    """Draws the bars; returns the start and end of each group on the x axis."""
    edges = _edges(stream)
    x, row = 0.0, -1
    for block in genotype.blocks_of(stream):
        if block.group != row:
            row, x = block.group, x + 0.6
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
        x += 1
    axes.set_xlim(-0.4, x)
    axes.grid(axis="x", visible=False)
    axes.tick_params(labelbottom=False)
    return edges


def _legend(axes: Axes, genotype: Genotype) -> None:
    kernels = {kernel_size(group.kernel) for group in genotype.rows}
    keys: list[Artist] = [
        Patch(facecolor=FRAMES[time], label=f"{time} frame{'s' * (time > 1)}")
        for time in sorted({time for time, _ in kernels})
    ]
    if 5 in {space for _, space in kernels}:
        keys.append(Patch(facecolor=MUTED, hatch="..", edgecolor="white", label="5x5 px"))
    keys.append(Line2D([], [], linestyle="", marker="_", color=INK, label="squeeze-excite"))
    axes.legend(handles=keys, loc="upper left")


def _paint_stages(
    axes: Axes, stream: Stream, parts: dict[str, Part], edges: list[tuple[float, float]]
) -> None:
    """Draws a line at the beginning of each stage, with the size of its output."""
    top = axes.get_ylim()[1]
    for number, (left, _) in enumerate(edges):
        if stream.groups[number].stride == 2 or number == 0:
            axes.axvline(left - 0.05, color=RULE, linewidth=1)
            part = parts[_named(stream, number + 1)]
            axes.annotate(
                f"{part.frames}x{part.side}²",
                (left, top),
                (2, 2),
                color=MUTED,
                textcoords="offset points",
            )
