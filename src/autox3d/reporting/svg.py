"""Matplotlib figures as SVG inside a page: without scripts, fonts or links to outside."""

from __future__ import annotations

import html
import io
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import textalloc
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

INK, MUTED, RULE = "#1f2a37", "#667180", "#dde3ea"
BLUE, SKY, ORANGE, GREEN, PLUM, GREY = (
    "#1f5f8b",
    "#7fb2d4",
    "#c8622d",
    "#4d8a5f",
    "#835a9b",
    "#a3adb8",
)
COLOURS = (BLUE, ORANGE, GREEN, PLUM, "#b08a2e", "#3d9a9c", "#b3507d", "#5c6b7a")
DASHES = ("-", "--", "-.", ":")

# 4.8 inches are 346 px: about a phone's width, so that text is never smaller than it is drawn.
WIDTH = 4.8
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "autox3d",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "figure.constrained_layout.use": True,
}


class Drawing:
    """A figure that is being drawn; `svg` is set when its block ends."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.svg = ""


@contextmanager
def drawing(alt: str, height: float = 3.0, width: float = WIDTH) -> Iterator[Drawing]:
    """A figure in the report's style.

    Args:
        alt: the alternative text.
        height, width: of the figure, inches.
    """
    with mpl.rc_context(STYLE):  # pyright: ignore[reportArgumentType]
        drawn = Drawing(Figure(figsize=(width, height)))
        yield drawn
        target = io.StringIO()
        drawn.figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    drawn.svg = inline(target.getvalue(), alt)


def inline(svg: str, alt: str) -> str:
    """The content of an SVG file as an element of a page, with a text alternative."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-z_.]+\d+"', "", svg)  # axes_1, text_2: the same in every figure
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height|version)="[^"]*"', "", head)
    label = html.escape(alt)
    return f'{head} role="img" aria-label="{label}"><title>{label}</title>{rest.strip()}'


def axes(drawn: Drawing, x: str, y: str) -> Axes:
    """One pair of axes with its labels."""
    pair = drawn.figure.subplots()
    pair.set_xlabel(x)
    pair.set_ylabel(y)
    if x == "epoch":
        pair.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return pair


def legend(of: Axes, columns: int = 3) -> None:
    """Adds a legend below the axes, where it covers no data."""
    if len(of.get_legend_handles_labels()[0]) > 1:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
        of.legend(ncols=columns, columnspacing=1.2, handlelength=1.6, **place)


def labels(of: Axes, texts: Mapping[str, tuple[float, float]]) -> None:
    """Names points, each where its text covers no other text, point or line.

    To be called last: the places depend on the limits of the axes.

    Args:
        texts: the name of each point, and its place in data coordinates
    """
    root = of.get_figure(root=True)
    assert root
    root.draw_without_rendering()  # lays out the axes
    x, y = (list(column) for column in zip(*texts.values(), strict=True))
    lines: list[list[Any]] = [[], []]  # of floats: x and y of each line
    for line in of.lines:
        for axis, values in zip(lines, line.get_data(), strict=True):
            axis.append(np.asarray(values, np.float64))
    textalloc.allocate(
        of, x, y, list(texts), x_scatter=x, y_scatter=y, x_lines=lines[0], y_lines=lines[1],
        textsize=mpl.rcParams["font.size"], textcolor=INK, linecolor=MUTED, linewidth=0.6,
        min_distance=0.02, margin=0.006,
    )  # fmt: skip


def percents(of: Axes, *, x: bool = False) -> None:
    """Labels an axis of shares in percent."""
    axis = of.xaxis if x else of.yaxis
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))


def costs(of: Axes) -> None:
    """Makes the x axis logarithmic, with plain numbers at its ticks: G multiply-adds."""
    of.set_xscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    of.xaxis.set_major_formatter(plain)
    low, high = of.get_xlim()
    decades = list(itertools.takewhile(lambda x: x <= high, (10.0**n for n in range(-6, 6))))
    for digits in ((1, 2, 5), (1, 2, 3, 4, 5, 6, 8)):
        ticks = [digit * ten for ten in decades for digit in digits if low <= digit * ten <= high]
        if len(ticks) >= 3:  # of less than a decade, finer ones
            break
    if len(ticks) < 2:  # of a narrow range, round numbers between its ends
        ticks = [x for x in MaxNLocator(4).tick_values(low, high) if low <= x <= high]
    of.set_xticks(ticks[:: max(1, len(ticks) // 6)])
    of.minorticks_off()
