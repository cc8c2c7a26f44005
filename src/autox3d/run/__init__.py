"""What ties the project to its engines: processes, checkpoints, MLflow, DVC and Snakemake."""

import os

# For the stages' processes, before torch is loaded. Without the first, two threads on a machine
# that has other work wait for each other in whole time slices (a step of 12 s instead of 0.5 s);
# the second lets the kernel give large tensors large pages (a fifth of a training step).
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
