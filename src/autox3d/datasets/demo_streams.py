"""Generated videos for two streams: classes by a still texture, and classes by a fast motion.

Half of the classes stand still, and the texture of each runs another way (`scene`): a single frame
shows which, to a network with enough channels. The other half pan over textures that run any way,
faster than a few frames can follow. So neither a wide stream of few frames nor a thin one of many
can tell all classes apart.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from autox3d.datasets import demo, scene
from autox3d.datasets.annotations import Annotations
from autox3d.datasets.demo import Kinds, Progress
from autox3d.datasets.scene import Motion

if TYPE_CHECKING:
    from autox3d.core.settings import Demo

APART = math.pi / 16  # rad from the texture of one class to that of the next
STILL = 4  # classes by texture, as many as there are pans


def kinds_of(speed: float) -> Kinds:
    """The classes: `speed` is a factor on the default speeds of the pans."""
    still = {
        f"still_{number}": Motion(speed=(0.0, 0.0), grain=APART * number)
        for number in range(1, STILL + 1)
    }
    pans = {name: kind for name, kind in scene.motions(1, speed).items() if name.startswith("pan")}
    return still | pans


def prepare(root: Path, videos: str, settings: Demo, progress: Progress) -> Annotations:
    """Renders the videos that do not exist yet, on all cores, and returns the annotations.

    `root` is the data root, `videos` the folder under it.

    Raises:
        Refused: the folder holds files that the demo has not made.
    """
    counts = {"train": settings.train, "val": settings.val, "test": settings.test}
    kinds, processes = kinds_of(settings.speed), len(os.sched_getaffinity(0))
    demo.render(root / videos, counts, settings.seed, processes, kinds, progress)
    return demo.describe(videos, counts, kinds)
