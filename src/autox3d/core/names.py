"""Names that layers had in files of earlier versions.

Format 1 of weights, supernets and checkpoints calls a block's depthwise convolution `look`.
"""

from __future__ import annotations

RENAMED = {"look": "depthwise"}


def modern(name: str) -> str:
    """blocks.0.look.conv.weight -> blocks.0.depthwise.conv.weight; a name of today is itself."""
    return ".".join(RENAMED.get(part, part) for part in name.split("."))
