"""A network as a table like the paper's Table 2, with the cost of each row."""

from __future__ import annotations

from autox3d.vision.arch.cost import Cost, Part
from autox3d.vision.arch.genotype import Genotype

HEAD = ("", "block", "expansion", "channels", "blocks", "stride", "SE", "attention")
HEAD += ("output", "parameters", "M multiply-adds")
WORDS = 2  # columns that are set to the left


def rows(genotype: Genotype, account: Cost) -> list[tuple[str, ...]]:
    """Makes the rows of stem, groups and head as text, for the header `HEAD`."""
    return [
        _choices(genotype, number) + _costs(part, account)
        for number, part in enumerate(account.parts)
    ]


def _choices(genotype: Genotype, number: int) -> tuple[str, ...]:
    """The columns that follow from the genotype; row 0 is the stem, the last one the head."""
    if number == 0:
        time = f", {genotype.stem.temporal_kernel}x1²" if genotype.stem.temporal_kernel > 1 else ""
        return "stem", f"1x3²{time}", "", str(genotype.stem.channels), "", "2", "", ""
    if number > len(genotype.groups):
        head = genotype.head
        block = f"1x1², pool, {head.hidden}" if head.hidden else "1x1², pool"
        return "head", block, "", str(head.channels), "", "", "", ""
    group = genotype.groups[number - 1]
    return (
        str(number),
        group.kernel,
        f"{group.expansion:g}",
        str(group.channels),
        str(group.blocks),
        str(group.stride),
        group.squeeze_excite.replace("none", "-"),
        group.attention.replace("none", "-"),
    )


def _costs(part: Part, account: Cost) -> tuple[str, ...]:
    """Size of the output, parameters, and millions of multiply-adds."""
    frames = 1 if part.name == "head" else account.frames
    size = f"{part.channels}x{frames}x{part.side}²"
    return size, f"{part.params:,}", f"{part.macs / 1e6:,.1f}"
