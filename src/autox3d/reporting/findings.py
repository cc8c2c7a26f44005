"""What A3D 5.4 says about the networks that its search found, computed for those found here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from autox3d.vision.arch.genotype import Genotype, stages_of

NOWHERE = "none"


class Row(NamedTuple):
    """The choices of a group, and its stage, from 1."""

    kernel: str
    expansion: float
    attention: str
    stage: int


class Count(NamedTuple):
    """In how many of the places where a finding can hold it does."""

    holds: int
    of: int


class Finding(NamedTuple):
    """How many groups have a candidate of some kind."""

    name: str
    printed: Count  # of AutoX3D-S (A3D supplement, Table 2a)
    column: str
    wants: Callable[[str], bool]
    half: int | None = None  # 0: of the first half of the groups, 1: of the second

    def counted(self, rows: Sequence[Row]) -> Count:
        middle = (len(rows) + 1) // 2
        part = {None: rows, 0: rows[:middle], 1: rows[middle:]}[self.half]
        return Count(sum(self.wants(str(getattr(row, self.column))) for row in part), len(part))


FINDINGS = (
    Finding("3x3\N{SUPERSCRIPT TWO} kernel (widely used)", Count(6, 11), "kernel",
            lambda kernel: kernel == "t3_s3"),
    Finding("kernel over 5 frames (hardly used)", Count(1, 11), "kernel",
            lambda kernel: kernel.startswith("t5_")),
    Finding("5x5\N{SUPERSCRIPT TWO} kernel (never used)", Count(0, 11), "kernel",
            lambda kernel: kernel == "t5_s5"),
    Finding("kernel over several frames, early half", Count(4, 6), "kernel",
            lambda kernel: not kernel.startswith("t1_"), 0),
    Finding("kernel over several frames, late half", Count(4, 5), "kernel",
            lambda kernel: not kernel.startswith("t1_"), 1),
    Finding("attention after it", Count(1, 11), "attention", lambda kind: kind != NOWHERE),
)  # fmt: skip
WIDER = "higher expansion in a stage's first group (usual, but for stage 1)"
WIDER_PRINTED = Count(3, 3)


def rows_of(genotype: Genotype) -> list[Row]:
    """The groups of a network, stream by stream."""
    every = (stage for stream in genotype.streams for stage in stages_of(stream.groups))
    stages = enumerate(every, 1)
    return [
        Row(group.kernel, group.expansion, group.attention, stage)
        for stage, groups in stages
        for group in groups
    ]


def rows_of_record(groups: Sequence[str], like: Sequence[Row]) -> list[Row]:
    """The groups of a network of derive.json, such as "t3_s3 2.25 16 none".

    Args:
        like: a network of the same space, whose stages it has
    """
    parts = [group.split() for group in groups]
    return [
        Row(kernel, float(expansion), attention, row.stage)
        for (kernel, expansion, _, attention, *_), row in zip(parts, like, strict=True)
    ]


def first_is_wider(rows: Sequence[Row]) -> Count:
    """Stages whose first group expands more than the mean of its others; from stage 2 on."""
    stages: dict[int, list[float]] = {}
    for row in rows:
        stages.setdefault(row.stage, []).append(row.expansion)
    judged = [values for stage, values in stages.items() if stage > 1 and len(values) > 1]
    wider = [first > sum(others) / len(others) for first, *others in judged]
    return Count(sum(wider), len(wider))


def table(
    found: Sequence[Row], others: Sequence[Sequence[Row]], available: Mapping[str, set[str]]
) -> tuple[Sequence[str], list[list[str]]]:
    """Header and rows: each finding in print, in the network found, and in the runners-up.

    Args:
        available: column -> its candidates in any group of the space, to say what no group could
            take; empty if unknown
    """
    head = ["groups, or stages, with a", "AutoX3D-S", "found"]
    head += [f"{len(others)} runners-up"] if others else []
    rows = []
    for one in FINDINGS:
        cells = _cells(one.name, one.printed, one.counted, found, others)
        listed = available.get(one.column, set())
        if listed and not any(map(one.wants, listed)):
            cells[2:] = ["not in the space", *[""] * (len(cells) - 3)]
        rows.append(cells)
    return head, [*rows, _cells(WIDER, WIDER_PRINTED, first_is_wider, found, others)]


def _cells(
    name: str,
    printed: Count,
    count: Callable[[Sequence[Row]], Count],
    found: Sequence[Row],
    others: Sequence[Sequence[Row]],
) -> list[str]:
    cells = [name, _text(printed), _text(count(found))]
    counts = [count(network) for network in others]
    of = sum(each.of for each in counts)
    share = f"{100 * sum(each.holds for each in counts) / of:.0f} %" if of else "-"
    return cells + ([share] if others else [])


def _text(count: Count) -> str:
    return f"{count.holds} of {count.of}" if count.of else "-"
