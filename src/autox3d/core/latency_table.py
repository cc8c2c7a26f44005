"""A latency table: the milliseconds of the parts of a space's networks, timed on one device.

`autox3d profile` writes it, YAML with one line for each part; a search with a budget in
milliseconds reads it (`autox3d.search.latency`).
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Literal

import yaml

from autox3d.core import atomic, schema
from autox3d.core.errors import Refused
from autox3d.core.schema import table
from autox3d.core.values import Count, Positive, Whole

FLAGS = {"threads": "--threads", "type": "--type", "batch": "--batch", "classes": "--classes"}
Clock = Literal["wall", "processor"]
Type = Literal["float32", "bfloat16"]
HEAD = """\
# Milliseconds of a view for parts of the networks of {space}, timed on one device.
# Made by `autox3d profile`, which goes on with an unfinished file; `search.latency` names it.
"""


@table
class TimedPart:
    """One part of a network, or a whole one, as prediction runs it, and how long it takes."""

    part: Literal["stem", "block", "unit", "head", "network"]
    kind: str  # a block's kernel and its type's columns, a unit's name, a network's draw
    channels_in: Count
    inner: Whole  # channels of a block's depthwise convolution; 0 for other parts
    channels: Count  # out
    side: Count  # px, of the input
    stride: Count
    gate: bool  # whether a block has squeeze-excite
    ms: tuple[Positive, ...]  # of one view, one for each round

    @property
    def untimed(self) -> TimedPart:
        """The part without its times, which identifies it."""
        return replace(self, ms=())


@table
class Setup:
    """What was timed, and how; two tables agree if theirs are equal."""

    space: str  # its name
    fingerprint: str  # of the space, 16 hex digits
    device: str  # its model
    instructions: str  # the instruction set: AVX512, sm_90
    threads: Count
    type: Type
    batch: Count  # views of a pass
    frames: Count  # of a view
    side: Count  # px, of a view: the space's `short`
    classes: Count  # of the head
    torch: str  # its version
    clock: Clock  # processor: without the time of other programs
    rounds: Count  # times that each part is timed


@table
class HeldOut:
    """The relative errors of what a prediction has not seen."""

    blocks: Whole
    median: float
    worst: float
    noise: float  # relative standard error of a block's own time, median
    networks: Whole  # whole ones, predicted from parts and from the scale of the others
    network_median: float
    network_worst: float
    scale: float  # of a whole network's time over the sum of its parts, each timed alone


@table
class LatencyTable:
    """The file of `autox3d profile`."""

    setup: Setup
    held_out: HeldOut | None  # null until all parts are timed
    parts: tuple[TimedPart, ...]

    @property
    def missing(self) -> int:
        """The number of timings that are still to do."""
        return sum(self.setup.rounds - len(part.ms) for part in self.parts)

    @staticmethod
    def load(path: Path) -> LatencyTable:
        """Reads a file; raises Refused if it is missing or damaged."""
        return schema.load(path, LatencyTable)

    def save(self, path: Path) -> None:
        """Writes the file atomically."""
        content = {"setup": asdict(self.setup), "held_out": self.held_out and asdict(self.held_out)}
        written = yaml.safe_dump(content, sort_keys=False)
        rows = [f"- {_row(part)}\n" for part in self.parts]
        text = f"{HEAD.format(space=self.setup.space)}{written}parts:\n{''.join(rows)}"
        atomic.write_text(path, text)

    def check(self, path: Path, asked: Setup) -> None:
        """Checks that the file was made for what is asked.

        Raises:
            Refused: names the first thing that differs.
        """
        for name in (field.name for field in fields(Setup)):
            old, new = getattr(self.setup, name), getattr(asked, name)
            if old != new:
                flag = f"give {FLAGS[name]} {old}, or " if name in FLAGS else ""
                line = (
                    f"'{name}' is {old}, but here it is {new}. To go on, {flag}write another file."
                )
                raise Refused(f"{path}: {line}")


def _row(part: TimedPart) -> str:
    content = asdict(part) | {"ms": [round(ms, 6) for ms in part.ms]}
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=True, width=1000).strip()
