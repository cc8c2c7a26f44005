"""A whole decode of a file, from end to end, with which chosen frames of it are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autox3d.inference.files import pixels
from autox3d.ingest import source
from autox3d.ingest.clock import Clock, at_rate
from autox3d.ingest.upright import upright


def frames(path: Path, rate: int = 30) -> np.ndarray:
    """Every frame that a file shows at the rate, uint8 (N, H, W, 3), upright."""
    shown, times, size = [], [], None
    with source.opened(path) as (container, stream):
        clock = Clock(container, stream)
        for frame in source.frames(container, stream, clock=clock):
            size = size or upright(frame)
            shown.append(pixels(frame, size))
            times.append(clock.time(frame))
    return np.stack([shown[number] for number in at_rate(clock.frames(times), rate)])
