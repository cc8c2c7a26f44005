"""The commit of the code that runs."""

from __future__ import annotations

import functools
import subprocess


@functools.cache
def head() -> str:
    """The hash of HEAD when it was first asked for; empty outside git."""
    return _git("rev-parse", "HEAD")


def differs(*paths: str) -> bool:
    """Whether files there are not as HEAD has them."""
    return bool(_git("status", "--porcelain", "--", *paths))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # a cluster's nodes need no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
