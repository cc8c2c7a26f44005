"""Batch norm's statistics: the running ones of a step in chunks, and those for evaluation.

C channels of all norms together
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import (
    Tensor,
    _foreach_add_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_copy_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_div_,  # pyright: ignore[reportPrivateImportUsage]
    nn,
)

from autox3d.vision.learning.schedule import is_norm

Chunk = tuple[int, Tensor, Tensor]  # number in the step, clips (B, 3, T, H, W), labels (B,)


class Running:
    """One move of the running statistics for a whole step, towards the mean of its chunks'.

    Left alone, they would move once for each chunk that this process works on: the number of
    processes would change them.
    """

    def __init__(self, net: nn.Module) -> None:
        self._buffers = list(net.buffers())
        self._before = [buffer.clone() for buffer in self._buffers]
        self.sums = [torch.zeros_like(b) for b in self._buffers if b.is_floating_point()]

    def rewind(self) -> None:
        """Every chunk starts from where the step did."""
        _foreach_copy_(self._buffers, self._before)

    def end_chunk(self) -> None:
        """Notes where this chunk has led."""
        _foreach_add_(self.sums, self._statistics())

    def end_step(self, chunks: int) -> None:
        """Takes the mean, once `sums` are those of all processes."""
        _foreach_div_(self.sums, chunks)
        _foreach_copy_(self._statistics(), self.sums)

    def _statistics(self) -> list[Tensor]:
        return [buffer for buffer in self._buffers if buffer.is_floating_point()]


@torch.no_grad()
def recalibrate_batch_norm(
    net: nn.Module,
    steps: Iterable[Iterable[Chunk]],
    chunks: int,
    reduce: Callable[[list[Tensor]], None],
) -> None:
    """Replaces running statistics by those of the clips of `steps`, pooled ("precise BN").

    Of each chunk's mean m and variance v: E[m] and E[v + m^2] - E[m]^2 (arXiv:2105.07576, 3). The
    same bits however many processes share the chunks.

    Args:
        steps: this process's share of each
        chunks: of a step, over all processes
        reduce: sums tensors over all processes, in place
    """
    norms: list[Any] = [layer for layer in net.modules() if is_norm(layer)]
    momenta = [norm.momentum for norm in norms]
    widths = [len(norm.running_mean) for norm in norms]
    running = Running(net)
    net.train()
    for norm in norms:
        norm.momentum = 1.0  # the running statistics are the last chunk's
    found: list[Tensor] = []
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
        found.append(moments.mean(0))
    mean, square = torch.stack(found).mean(0)
    spread = (square - mean.square()).clamp_(min=0)
    for norm, of, by in zip(norms, mean.split(widths), spread.split(widths), strict=True):
        norm.running_mean.copy_(of)
        norm.running_var.copy_(by)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
