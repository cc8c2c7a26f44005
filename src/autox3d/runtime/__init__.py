"""The surroundings of a run: processes, checkpoints, the lock, tracking and provenance."""

import ctypes
import os

# Settings for the processes of the stages; they must be made before torch is imported. Without the
# first, two threads on a busy machine wait for each other in whole time slices (a step takes 12 s
# instead of 0.5 s). The second lets the kernel use large pages for large tensors, which saves a
# fifth of a training step.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# Keep the memory of one clip's frames for the next clip. Returning it to the kernel each time costs
# page faults, up to two fifths of a decode (docs/LOG.md). Only glibc has these settings.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    mallopt(M_TRIM_THRESHOLD, 128 << 20)
    mallopt(M_MMAP_THRESHOLD, 32 << 20)
