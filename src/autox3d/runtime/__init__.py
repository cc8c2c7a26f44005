"""The surroundings of a run: processes, checkpoints, the lock, tracking and provenance."""

import os

from autox3d.runtime import memory

# Settings for the processes of the stages; they must be made before torch is imported. Without the
# first, two threads on a busy machine wait for each other in whole time slices (a step takes 12 s
# instead of 0.5 s). The second lets the kernel use large pages for large tensors, which saves a
# fifth of a training step.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

memory.keep_frames()
