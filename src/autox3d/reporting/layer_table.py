"""A network as a table like the paper's Table 2, with the cost of each row.

A network of two streams has the rows of the sparse one first. A fusion stands before the row of the
dense stream whose features it adds to the sparse one.
"""

from __future__ import annotations

from collections.abc import Iterator

from autox3d.vision.arch.blocks import Group
from autox3d.vision.arch.cost import Cost, Part
from autox3d.vision.arch.fusions import SKIP
from autox3d.vision.arch.genotype import Genotype, Stem

HEAD = ("", "block", "expansion", "channels", "blocks", "stride", "SE", "attention")
HEAD += ("output", "parameters", "M multiply-adds")
WORDS = 2  # columns that are set to the left
Cells = tuple[str, ...]


def rows(genotype: Genotype, account: Cost) -> list[Cells]:
    """Makes the rows of stem, groups and head as text, for the header `HEAD`."""
    pairs = zip(_choices(genotype), account.parts, strict=True)
    return [choices + _costs(part) for choices, part in pairs]


def _choices(genotype: Genotype) -> Iterator[Cells]:
    """The columns that follow from the genotype, in the order of the account's parts."""
    for stream in genotype.streams:
        before = "dense " if stream.name == "dense" else ""
        yield _stem(stream.stem, before)
        for number, group in enumerate(stream.groups, 1):
            if group.fuse and group.fuse != SKIP:
                yield f"fusion {number}", f"{group.fuse}, 1x1²", *[""] * 6
            yield _group(group, f"{before}{number}")
    head, dense = genotype.head, genotype.dense
    block = f"1x1², pool, {head.hidden}" if head.hidden else "1x1², pool"
    channels = f"{head.channels} + {dense.head}" if dense else str(head.channels)
    yield "head", block, "", channels, "", "", "", ""


def _stem(stem: Stem, before: str) -> Cells:
    time = f", {stem.temporal_kernel}x1²" if stem.temporal_kernel > 1 else ""
    return f"{before}stem", f"1x3²{time}", "", str(stem.channels), "", "2", "", ""


def _group(group: Group, name: str) -> Cells:
    return (
        name,
        group.kernel,
        f"{group.expansion:g}",
        str(group.channels),
        str(group.blocks),
        str(group.stride),
        group.squeeze_excite.replace("none", "-"),
        group.attention.replace("none", "-"),
    )


def _costs(part: Part) -> Cells:
    """Size of the output, parameters, and millions of multiply-adds."""
    size = f"{part.channels}x{part.frames}x{part.side}²"
    return size, f"{part.params:,}", f"{part.macs / 1e6:,.1f}"
