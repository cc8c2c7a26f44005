"""How a result was made: commit, machine, hours. Stands beside results that keep the same bits."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from autox3d.core import atomic
from autox3d.runtime.git import differs, head

SOURCES = ("src", "params.yaml", "dvc.yaml")


def commit() -> str:
    """The short hash of HEAD, `+` where the sources differ from it; empty outside of git."""
    return head()[:10] + ("+" if head() and differs(*SOURCES) else "")


def device(of: torch.device) -> str:
    """What computed: `NVIDIA A100-SXM4-80GB` or `x86_64 CPU, threads: 2`."""
    if of.type == "cuda":
        return torch.cuda.get_device_name(of)
    return f"{platform.machine()} CPU, threads: {torch.get_num_threads()}"


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
