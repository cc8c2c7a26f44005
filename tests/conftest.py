"""What holds for all tests: one thread a process, since they run side by side; no MLflow mirror."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("AUTOX3D_TRACKING", "off")  # tests of the mirror turn it on
