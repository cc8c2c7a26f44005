"""What the C library does with memory that is free again (mallopt(3)); only glibc can be told.

By default it returns a large piece to the kernel at once. The next one of that size then costs a
page fault for each of its pages, which the kernel fills with zeros first.
"""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # of malloc.h
C = ctypes.CDLL(None)


def keep_frames() -> None:
    """Keeps the memory of one clip's frames for the next clip: pieces of up to 32 MB, 128 in all.

    Returning it costs up to two fifths of a decode (docs/LOG.md).
    """
    _set(MMAP_THRESHOLD, 32 << 20)
    _set(TRIM_THRESHOLD, 128 << 20)


def keep_tensors() -> None:
    """Keeps the memory of a network's pass on a CPU for the next pass: pieces of any size.

    Returning it costs a third of a pass of X3D-S over three views (docs/LOG.md). It is the memory
    of the main thread, and counts from now on, for the whole program. Of what is free at the end of
    the heap 1 GB is kept; of what is free before something in use, all of it, until `give_back`.
    """
    _set(MMAP_MAX, 0)
    _set(TRIM_THRESHOLD, 1 << 30)


def give_back() -> None:
    """Returns to the kernel what is kept and not in use."""
    if trim := getattr(C, "malloc_trim", None):
        trim(0)


def _set(what: int, value: int) -> None:
    if mallopt := getattr(C, "mallopt", None):
        mallopt(what, value)
