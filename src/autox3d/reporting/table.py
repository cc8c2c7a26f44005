"""The results table: one row a network and way of testing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autox3d.reporting.results import Network

HEAD = ("network", "views", "top-1, %", "top-5, %", "GMACs a view", "parameters", "trained on")
HEAD += ("hours", "commit")


def rows(networks: Iterable[Network], crops: Sequence[str] = ("lcr",)) -> list[list[str]]:
    """Of each evaluated network; `crops`: "center" (one crop a clip) and "lcr" (three)."""
    found = []
    for network in networks:
        if (tested := network.evaluation) is None:
            continue
        made = network.made or {}
        for way in crops:
            found.append(
                [
                    network.name,
                    str(tested[way]["views"]),
                    percent(tested[way]["top1"]),
                    percent(tested[way]["top5"]),
                    f"{tested[f'gmacs_{way}']:.3g}",
                    f"{tested['params']:,}",
                    made.get("device", ""),
                    f"{made['hours']:.2f}" if made else "",
                    made.get("commit", ""),
                ]
            )
    return found


def markdown(networks: Iterable[Network]) -> str:
    """For README: the table, in GitHub's form, or a line that says that there is none yet."""
    found = rows(networks)
    if not found:
        return "No network has been evaluated yet.\n"
    cells = [list(HEAD), *([cell.replace("|", "\\|") for cell in row] for row in found)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width if i in (0, 6, 8) else "-" * (width - 1) + ":"
            for i, width in enumerate(widths)]  # fmt: skip
    lines = [cells[0], rule, *cells[1:]]
    padded = ([cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)


def percent(share: float | None) -> str:
    """0.9612 -> 96.1; a test without labels has no accuracy."""
    return "-" if share is None else f"{100 * share:.1f}"
