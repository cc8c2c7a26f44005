"""Finds, trains, tests and ships small video networks (Auto-X3D).

>>> import autox3d
>>> autox3d.load("data/weights/s").predict("video.mp4").top(5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autox3d.inference.network import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """`load` comes with torch, which takes its time, when it is first used."""
    if name != "load":
        raise AttributeError(f"module 'autox3d' has no attribute '{name}'")
    from autox3d.inference.network import load

    return load
