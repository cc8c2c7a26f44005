"""The passes of a training step: forward and backward of one chunk of clips, or of several.

What the passes of a step add up (gradients, running statistics, losses, correct clips) keeps its
place in memory from step to step. So the processes sum one tensor, the optimiser works on views of
it, and one CUDA graph can be captured of a pass and replayed for all (`training.graph`).

    B clips of a pass, in chunks that share batch-norm statistics
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import (
    Tensor,
    _foreach_add_,  # pyright: ignore[reportPrivateImportUsage]
    nn,
)

from autox3d.training.reduction import Reduction
from autox3d.vision.clips.augment import chunk_count
from autox3d.vision.learning.noise import Noise
from autox3d.vision.learning.statistics import Running, statistics
from autox3d.vision.tasks.task import Task

Chunk = tuple[int, Tensor, Tensor]  # number in the step, clips (B, 3, T, H, W), labels (B, ...)


class Pass(NamedTuple):
    """The chunks that one forward pass takes together."""

    chunks: Sequence[Chunk]
    seeds: Sequence[int]  # of the dropout of each

    @property
    def clips(self) -> int:
        """B, the number of clips."""
        return sum(len(clips) for _, clips, _ in self.chunks)


class Replay(NamedTuple):
    """A pass that was captured: it reads its input here, and adds to the same sums."""

    clips: Tensor  # (B, 3, T, H, W)
    labels: Tensor  # (B, ...)
    run: Callable[[], None]


class Passes:
    """Runs the passes of each step of a training, and adds up what they give.

    Args:
        net: its parameters get their `grad` here, views of one tensor
        batch: clips of a step, over all processes
        chunk: clips that share batch-norm statistics
        size: clips of a pass, at most
        compiled: whether torch.compile makes the code of a pass
    """

    def __init__(
        self,
        net: nn.Module,
        task: Task,
        device: torch.device,
        *,
        batch: int,
        chunk: int,
        size: int,
        compiled: bool = False,
    ) -> None:
        self.net, self.task, self.device = net, task, device
        self.batch, self.chunk = batch, chunk
        self._forward = torch.compile(net, fullgraph=True) if compiled else net
        self.parameters = list(net.parameters())
        sizes = [parameter.numel() for parameter in self.parameters]
        own = sum(sizes)
        total = own + sum(buffer.numel() for buffer in statistics(net))
        self.flat = torch.zeros(total, device=device)  # gradients, then sums of statistics
        self.gradient = self.flat[:own]
        self._places = self.gradient.split(sizes)
        for parameter, place in zip(self.parameters, self._places, strict=True):
            parameter.grad = place.view(parameter.shape)
        self._running = Running(net, self.flat[own:])
        count = chunk_count(batch, chunk)
        self.counts = torch.zeros(count + 1, dtype=torch.float64, device=device)
        self.losses, self._correct = self.counts[:-1], self.counts[-1]  # nats of each chunk
        self._of_pass = torch.zeros(max(1, size // chunk), dtype=torch.float64, device=device)
        self._noise = Noise(net, size, device) if size > chunk else None
        self.replay: Replay | None = None

    @property
    def parts(self) -> list[str]:
        """The names of what two passes give, in the order of `training.graph`."""
        names = [f"the gradient of {name}" for name, _ in self.net.named_parameters()]
        return ["the loss", "the loss of the second pass", *names, "a running statistic"]

    def sums(self) -> list[Tensor]:
        """The gradient of each parameter, and all sums of statistics."""
        return [*self._places, self._running.flat]

    def begin_step(self) -> None:
        """Zeroes all sums; the running statistics of each pass start from the present ones."""
        self.gradient.zero_()
        self.counts.zero_()
        self._running.begin_step()

    def take(self, one: Pass, reduction: Reduction | None = None) -> None:
        """Runs a pass: its gradient, statistics, losses and correct clips are added.

        Args:
            reduction: for the last pass of a step, if the sums over all processes begin with it
        """
        self._seed(one)
        clips = [clips for _, clips, _ in one.chunks]
        labels = [labels for _, _, labels in one.chunks]
        if self.replay and one.clips == len(self.replay.clips):
            for place, some in zip(self.replay.clips.split(self.chunk), clips, strict=True):
                place.copy_(some)
            for place, some in zip(self.replay.labels.split(self.chunk), labels, strict=True):
                place.copy_(some)
            self.replay.run()
        else:
            self.run(_joined(clips), _joined(labels), reduction)
        for (number, _, _), loss in zip(one.chunks, self._of_pass, strict=False):
            self.losses[number].copy_(loss)

    def run(self, clips: Tensor, labels: Tensor, reduction: Reduction | None = None) -> None:
        """Runs a pass without seed, and leaves its losses where `take` looks for them."""
        self._running.rewind()
        kind = self.device.type
        with (
            self._noise.given() if self._noise else nullcontext(),
            torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"),
        ):
            logits = self._forward(*inputs(self.task, clips, labels))
        parts = zip(logits.float().split(self.chunk), labels.split(self.chunk), strict=True)
        losses = torch.stack([self.task.loss(*part) for part in parts])
        self._running.end_pass(len(losses))
        loss = losses.sum() / self.batch
        if reduction:
            with reduction.watching():
                torch.autograd.grad(loss, self.parameters, allow_unused=True)
        else:
            found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
            pairs = zip(self._places, found, strict=True)
            used = [(place, grad.reshape(-1)) for place, grad in pairs if grad is not None]
            _foreach_add_([place for place, _ in used], [grad for _, grad in used])
        self._of_pass[: len(losses)].copy_(losses.detach())
        self._correct += self.task.correct(logits, labels).sum()

    def end_step(self) -> None:
        """Moves the running statistics, once the sums include all processes."""
        self._running.end_step(len(self.losses))

    def results(self) -> tuple[list[float], float, float, float]:
        """The loss of each chunk, their sum, correct clips and the gradient's norm: one wait."""
        norm = torch.linalg.vector_norm(self.gradient).double()
        values = torch.cat([self.counts, torch.stack([self.losses.sum(), norm])])
        *losses, correct, loss, found = values.tolist()
        return losses, loss, correct, found

    def _seed(self, one: Pass) -> None:
        """Seeds dropout: of a chunk alone by torch's generator, of several by drawn noise."""
        if self._noise:
            self._noise.draw([len(clips) for _, clips, _ in one.chunks], one.seeds)
        else:
            (seed,) = one.seeds
            torch.manual_seed(seed)


def inputs(task: Task, clips: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """What a network takes: clips, and for a task with boxes their corners too."""
    return (clips, labels[..., :4]) if task.boxed else (clips,)


def grouped(
    chunks: Iterable[Chunk], per_pass: int, seed_of: Callable[[int], int]
) -> Iterator[Pass]:
    """Groups the chunks of a step into passes of at most `per_pass` clips, in their order.

    A chunk that is smaller than the one before it has a pass of its own, since batch norm takes
    equal chunks together.
    """
    some: list[Chunk] = []
    for chunk in chunks:
        if some and (len(some) + 1) * len(some[0][1]) > per_pass:
            yield _pass(some, seed_of)
            some = []
        if some and len(chunk[1]) != len(some[0][1]):
            yield _pass(some, seed_of)
            some = []
        some.append(chunk)
    if some:
        yield _pass(some, seed_of)


def _pass(chunks: list[Chunk], seed_of: Callable[[int], int]) -> Pass:
    return Pass(tuple(chunks), [seed_of(number) for number, _, _ in chunks])


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
