"""A file system with room for little, for what happens when a disk is full."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SmallDisk = Callable[[int], Path]  # room in KiB -> its folder


@contextmanager
def mounted(at: Path, kibibytes: int) -> Iterator[Path]:
    """A tmpfs of that size; the test is skipped where nobody may mount one."""
    at.mkdir()
    size = f"size={kibibytes}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "small", at]).returncode:
        pytest.skip("no right to mount a file system here")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)
