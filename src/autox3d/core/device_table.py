"""The table of a device: what it is, which kernels serve it best, and how fast it is.

`autox3d tune` writes it, YAML; `device.table` in params.yaml names it, and `autox3d plan` reads
its rates. The package has tables of its own for kinds of devices (`vision.kernels.choice`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from autox3d.core import atomic, schema
from autox3d.core.schema import table
from autox3d.core.values import Count, Positive

REFERENCE = "reference"  # the kernel that an operation takes where no row of a table is for it
Operation = Literal["forward", "input_gradient", "weight_gradient"]
HEAD = """\
# The table of a device, made by `{made}`.
# A row of `kernels` says which kernel a depthwise convolution of so many numbers takes, and how
# many ms each one took.
"""


@table
class Device:
    """What a table was made on; the kernels of a table are meant for its equals."""

    name: str  # its model
    instructions: str  # the instruction set: AVX2, AVX512, sm_90
    threads: Count  # of a CPU; 1 for a GPU
    torch: str  # its version

    def __str__(self) -> str:
        return f"{self.instructions}, threads: {self.threads}"

    def difference(self, other: Device) -> str:
        """The first thing in which the other one differs, but for the model; "" if nothing does."""
        for name in (field.name for field in fields(Device) if field.name != "name"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its:
                return f"'{name}' is {mine}, but here it is {its}"
        return ""


@table
class Choice:
    """One row: which kernel an operation takes at one size."""

    operation: Operation
    kernel: str  # of a depthwise convolution, time and space: t3_s5 is 3x5x5
    stride: Count  # over height and width
    numbers: Count  # of the input: B x C x T x H x W; the nearest row by ratio counts
    use: str  # the name of the kernel
    ms: dict[str, Positive]  # of each kernel that was tried, median


@table
class Rates:
    """The measured speed of one device and one core."""

    device: str  # its name
    measured: str  # how the rates were measured
    train: Positive  # 1e9 multiply-adds a second on a device, both passes counted
    forward: Positive  # 1e9 multiply-adds a second on a device
    transcode: Positive  # s of video that a core checks and encodes in a second
    clips: Positive  # training clips that a core decodes and cuts in a second
    megabytes: Positive  # MB of one second of a transcoded clip
    cores: Count  # that the stages beside the device may use
    disk: Positive  # MB that the disk of the workspace writes, or reads back, in a second


@table
class DeviceTable:
    """The file of `autox3d tune`."""

    device: Device
    rates: Rates | None  # null in the package's own tables
    kernels: tuple[Choice, ...]

    @staticmethod
    def load(path: Path) -> DeviceTable:
        """Reads a file; raises Refused if it is missing or damaged."""
        return schema.load(path, DeviceTable)

    def save(self, path: Path, made: str) -> None:
        """Writes the file atomically; `made` is the command that made it."""
        content = asdict(self)
        rows = [f"- {_line(row)}\n" for row in content.pop("kernels")]
        head = HEAD.format(made=made) + yaml.safe_dump(content, sort_keys=False)
        kernels = f"kernels:\n{''.join(rows)}" if rows else "kernels: []\n"
        atomic.write_text(path, head + kernels)


class Kernels:
    """The kernels that operations take, by the rows of a table: equal rows, equal choices."""

    def __init__(self, name: str, rows: Iterable[Choice]) -> None:
        """`name` says in records where the rows are from."""
        self.name, self.rows = name, tuple(rows)
        self._known: dict[tuple[str, str, int, int], str] = {}

    def chosen(self, operation: Operation, kernel: str, stride: int, numbers: int) -> str:
        """The kernel for an input of so many numbers: that of the row nearest in size."""
        key = operation, kernel, stride, numbers
        if key not in self._known:
            near = [
                row
                for row in self.rows
                if (row.operation, row.kernel, row.stride) == (operation, kernel, stride)
            ]
            near.sort(key=lambda row: (abs(math.log(row.numbers / numbers)), row.numbers))
            self._known[key] = near[0].use if near else REFERENCE
        return self._known[key]

    def plain(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"name": self.name, "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `plain`."""
        return cls(plain["name"], [Choice(**row) for row in plain["rows"]])


def _line(row: dict[str, Any]) -> str:
    row["ms"] = {name: round(ms, 4) for name, ms in row["ms"].items()}
    return yaml.safe_dump(row, sort_keys=False, default_flow_style=True, width=1000).strip()
