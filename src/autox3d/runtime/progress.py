"""Progress of a long loop: a bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from autox3d.runtime import activity

T = TypeVar("T")
PAUSE = 10.0  # s between lines in a log
clock = tqdm.format_interval


def progress(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    """Yields the items, and reports on stderr how many are done, their rate and the time left.

        for clip in progress(clips, len(clips), "transcode", "clips"): ...

    On a terminal this is a bar, elsewhere a line at once, a line every 10 s and a last one. Only
    rank 0 reports.
    """
    if os.environ.get("RANK", "0") != "0":
        return iter(items)
    items = activity.noted(items, total, what, unit)
    if sys.stderr.isatty():
        return iter(tqdm(items, what, total, unit=f" {unit}", dynamic_ncols=True))
    return _lines(items, total, what, unit)


def _lines(items: Iterable[T], total: int, what: str, unit: str) -> Iterator[T]:
    start = reported = time.monotonic()
    done = 0
    print(f"{what}: 0/{total} {unit}", file=sys.stderr, flush=True)  # it has begun
    try:
        for item in items:
            yield item
            done += 1
            now = time.monotonic()
            if now - reported >= PAUSE and done < total:
                _report(what, done, total, unit, now - start)
                reported = now
    finally:
        _report(what, done, total, unit, time.monotonic() - start)


def _report(what: str, done: int, total: int, unit: str, seconds: float) -> None:
    """`transcode: 120/740 clips, 12.0 clips/s, 00:10 gone, 00:52 left`"""
    rate = done / seconds if seconds else 0.0
    left = f", {clock((total - done) / rate)} left" if rate and done < total else ""
    line = f"{what}: {done}/{total} {unit}, {rate:.3g} {unit}/s, {clock(seconds)} gone{left}"
    print(line, file=sys.stderr, flush=True)
