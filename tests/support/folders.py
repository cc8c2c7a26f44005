"""Folders of files that stand for videos: what matters is their names."""

from __future__ import annotations

from pathlib import Path


def folder(top: Path, *paths: str) -> Path:
    """Files with a content of their own, which are no videos."""
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    return top
