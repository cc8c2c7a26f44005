"""What ties the project to its engines: processes, checkpoints, MLflow, DVC and Snakemake."""

import ctypes
import os

# For the stages' processes, before torch is loaded. Without the first, two threads on a machine
# that has other work wait for each other in whole time slices (a step of 12 s instead of 0.5 s);
# the second lets the kernel give large tensors large pages (a fifth of a training step).
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# What a clip's frames took is kept for the next: given back to the kernel each time, it costs page
# faults, up to two fifths of a decode (docs/LOG.md). Only glibc has these settings.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    mallopt(M_TRIM_THRESHOLD, 128 << 20)
    mallopt(M_MMAP_THRESHOLD, 32 << 20)
