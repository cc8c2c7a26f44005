"""The git commit of the running code."""

from __future__ import annotations

import functools
import subprocess


@functools.cache
def head() -> str:
    """The hash of HEAD at the first call; empty outside of git."""
    return _git("rev-parse", "HEAD")


def differs(*paths: str) -> bool:
    """Whether files under the paths differ from HEAD."""
    return bool(_git("status", "--porcelain", "--", *paths))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:  # a cluster's nodes need no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
