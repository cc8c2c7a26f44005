"""Provenance of a result: commit, device and hours, kept apart from reproducible outputs."""

from __future__ import annotations

import platform

import torch

from autox3d.core.records import Provenance
from autox3d.runtime.git import differs, head

SOURCES = ("src", "params.yaml", "dvc.yaml")


def code_version() -> str:
    """The short hash of HEAD, with a `+` if the sources differ from it; empty outside of git."""
    return head()[:10] + ("+" if head() and differs(*SOURCES) else "")


def device_name(of: torch.device) -> str:
    """The model of the device: `NVIDIA A100-SXM4-80GB` or `x86_64 CPU, threads: 2`."""
    if of.type == "cuda":
        return torch.cuda.get_device_name(of)
    return f"{platform.machine()} CPU, threads: {torch.get_num_threads()}"


def measured(
    seconds: float,
    device: torch.device,
    processes: int,
    seed: int | None = None,
    data_wait: float | None = None,
    kernels: str | None = None,
) -> Provenance:
    """The provenance of a result that `processes` processes took `seconds` to make.

    Args:
        data_wait: share of the time in which a training waited for clips
        kernels: the table whose kernels a training or a search took
    """
    return Provenance(
        commit=code_version(),
        device=device_name(device),
        processes=processes,
        hours=round(seconds / 3600, 4),
        torch=torch.__version__,
        python=platform.python_version(),
        seed=seed,
        data_wait=None if data_wait is None else round(data_wait, 3),
        kernels=kernels,
    )
