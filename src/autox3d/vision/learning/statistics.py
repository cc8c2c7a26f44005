"""Batch-norm statistics: running ones over a step's chunks, and recalibration for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import (
    Tensor,
    _foreach_add_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_copy_,  # pyright: ignore[reportPrivateImportUsage]
    nn,
)

from autox3d.vision.learning.schedule import is_norm

Chunk = tuple[int, Tensor, Tensor]  # number in the step, clips (B, 3, T, H, W), labels (B,)


class Running:
    """Updates the running statistics once per step, towards the mean over its chunks.

    By default they would be updated for each chunk that this process works on, and so depend on
    the number of processes. All tensors keep their places from step to step.

    Args:
        net: its buffers are the statistics, and counters
        flat: where to sum the statistics, (N,) with a place for each; new memory by default
    """

    def __init__(self, net: nn.Module, flat: Tensor | None = None) -> None:
        self._statistics = statistics(net)
        self._counters = [b for b in net.buffers() if not b.is_floating_point()]
        self._before = [buffer.clone() for buffer in self._statistics]
        self._counted = [buffer.clone() for buffer in self._counters]
        sizes = [buffer.numel() for buffer in self._statistics]
        self.flat = self._statistics[0].new_zeros(sum(sizes)) if flat is None else flat
        pairs = zip(self._statistics, self.flat.split(sizes), strict=True)
        self._sums = [place.view(buffer.shape) for buffer, place in pairs]

    def begin_step(self) -> None:
        """Notes the buffers, from which every chunk of the step starts, and zeroes the sums."""
        _copy(self._before, self._statistics)
        _copy(self._counted, self._counters)
        self.flat.zero_()

    def rewind(self) -> None:
        """Restores the buffers at the start of the step."""
        _copy(self._statistics, self._before)
        _copy(self._counters, self._counted)

    def end_pass(self, chunks: int = 1) -> None:
        """Adds the running statistics after a pass over so many chunks, each of which counts."""
        _foreach_add_(self._sums, self._statistics, alpha=chunks)

    def end_step(self, chunks: int) -> None:
        """Sets the running statistics to the mean; `flat` must include all processes."""
        self.flat.div_(chunks)
        _copy(self._statistics, self._sums)


def statistics(net: nn.Module) -> list[Tensor]:
    """The running statistics of a network: its buffers without the counters."""
    return [buffer for buffer in net.buffers() if buffer.is_floating_point()]


def _copy(to: list[Tensor], source: list[Tensor]) -> None:
    """Copies tensors of one type: over several types torch copies them one by one."""
    if to:
        _foreach_copy_(to, source)


@torch.no_grad()
def recalibrate_batch_norm(
    net: nn.Module,
    steps: Iterable[Iterable[Chunk]],
    chunks: int,
    reduce: Callable[[list[Tensor]], None],
) -> None:
    """Recalibrates batch norm: pools the statistics over the clips of `steps` ("precise BN").

    From each chunk's mean m and variance v it computes the mean E[m] and the variance
    E[v + m^2] - E[m]^2 (arXiv:2105.07576, 3). The result is the same, to the bit, for any number of
    processes.

    Args:
        net: its running statistics are replaced
        steps: this process's chunks of each step
        chunks: chunks per step, over all processes
        reduce: sums tensors over all processes, in place
    """
    norms: list[Any] = [layer for layer in net.modules() if is_norm(layer)]
    momenta = [norm.momentum for norm in norms]
    widths = [len(norm.running_mean) for norm in norms]
    running = Running(net)
    net.train()
    for norm in norms:
        norm.momentum = 1.0  # the running statistics become the last chunk's
    step_moments: list[Tensor] = []
    for step in steps:
        moments = norms[0].running_mean.new_zeros((chunks, 2, sum(widths)), dtype=torch.float64)
        for number, clips, _ in step:
            with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
                net(clips)
            mean = torch.cat([norm.running_mean for norm in norms]).double()
            variance = torch.cat([norm.running_var for norm in norms]).double()
            moments[number] = torch.stack([mean, variance + mean.square()])
        running.rewind()  # the state may be saved before the next step
        reduce([moments])
        step_moments.append(moments.mean(0))
    mean, square = torch.stack(step_moments).mean(0)
    pooled = (square - mean.square()).clamp_(min=0)
    for norm, of, by in zip(norms, mean.split(widths), pooled.split(widths), strict=True):
        norm.running_mean.copy_(of)
        norm.running_var.copy_(by)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
