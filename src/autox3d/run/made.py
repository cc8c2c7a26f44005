"""How a result was made: commit, machine, hours. Stands beside results that keep the same bits."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from autox3d import atomic

SOURCES = ("src", "params.yaml", "dvc.yaml")


def commit() -> str:
    """The short hash of HEAD, `+` where the sources differ from it; empty outside of git."""
    head = _git("rev-parse", "--short=10", "HEAD")
    return head + ("+" if head and _git("status", "--porcelain", "--", *SOURCES) else "")


def device(of: torch.device) -> str:
    """What computed: `NVIDIA A100-SXM4-80GB` or `x86_64 CPU, 2 threads`."""
    if of.type == "cuda":
        return torch.cuda.get_device_name(of)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def write(path: Path, seconds: float, of: torch.device, processes: int, **more: Any) -> None:
    """Commit, device, processes, hours, versions, and what else the stage says; one JSON object."""
    record = {
        "commit": commit(),
        "device": device(of),
        "processes": processes,
        "hours": round(seconds / 3600, 4),
        "torch": torch.__version__,
        "python": platform.python_version(),
        **more,
    }
    atomic.write_json(path, record)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
