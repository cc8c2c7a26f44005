"""The sets of parts that the candidates of a space take from shared kernels, for the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autox3d.reporting.layout import Figure, Source
from autox3d.reporting.results import Results
from autox3d.reporting.search_figures import Pattern, patterns
from autox3d.search.channel_sets import Ring, Selection
from autox3d.search.space import Space

MOST = 5  # rings in a figure
CAPTION = (
    "Columns: candidates; rows: parts of the kernel that they share; right: how many of the "
    "candidates use a part (Auto-X3D, Figure 3, has 3/5 for each of five)."
)


def pattern_figures(results: Results) -> list[Figure]:
    """The rings in use, if the settings name a space that is there."""
    shared = results.settings.get("supernet") or {}
    path = Path(str(shared.get("space", "")))
    if not path.is_file():
        return []
    selection: Selection = "naive" if shared.get("selection") == "naive" else "fair"
    rings = list(rings_of(Space.load(path), selection))
    source = Source(f"{path}, params.yaml")
    title = f"Which parts of a kernel are shared, {selection} selection"
    return [
        Figure(
            title if not first else f"{title}, continued",
            patterns(rings[first : first + MOST]),
            CAPTION,
            source,
            wide=True,
        )
        for first in range(0, len(rings), MOST)
    ]


def rings_of(space: Space, selection: Selection) -> Iterator[Pattern]:
    """The rings of channels, one a stage, then those of expansions; fixed ones are left out."""
    axes, stage = space.axes(selection), 0
    seen: list[Ring] = []
    for row, (group, here) in enumerate(zip(space.rows, axes, strict=True)):
        begins = group.stride == 2 or row in (0, len(space.groups))
        stage += begins
        if begins and len(here.outputs.arcs) > 1:
            yield _pattern(f"channels, stage {stage}", here.outputs)
    for row, here in enumerate(axes, 1):
        ring = here.expansions
        if len(ring.arcs) > 1 and ring not in seen:
            seen.append(ring)
            yield _pattern(f"expansion, group {row}", ring)


def _pattern(title: str, ring: Ring) -> Pattern:
    names = tuple(f"{float(candidate):g}" for candidate in ring.arcs)
    return Pattern(title, names, tuple(ring.arcs.values()), ring.count)
