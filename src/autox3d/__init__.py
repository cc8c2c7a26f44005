"""Finds, trains, tests and ships small video networks (Auto-X3D).

>>> import autox3d
>>> autox3d.load("data/weights/s").predict("video.mp4").top(5)
>>> autox3d.create("x3d_s", classes=10)  # random weights; the names: autox3d.list_networks()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autox3d.core.shipped import networks as list_networks

if TYPE_CHECKING:
    from autox3d.inference.network import load
    from autox3d.vision.models.network import create

__version__ = "0.1.0"
__all__ = ["__version__", "create", "list_networks", "load"]


def __getattr__(name: str) -> Any:
    """`create` and `load` come with torch, which takes its time, when they are first used."""
    if name == "load":
        from autox3d.inference.network import load

        return load
    if name == "create":
        from autox3d.vision.models.network import create

        return create
    raise AttributeError(f"module 'autox3d' has no attribute '{name}'")
