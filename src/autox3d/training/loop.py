"""The training loop: each step follows the mean gradient of a fixed number of clips.

The batch of a step is divided into chunks of a fixed size. The clips of a chunk share batch-norm
statistics, dropout is seeded by the number of the chunk, and running statistics are updated once a
step. So the number of processes that share the chunks of a step only changes the order in which
the gradient is summed. A pass may take several chunks at once (`training.passes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from autox3d.training.passes import Pass, Passes, grouped
from autox3d.training.reduction import Reduction
from autox3d.vision.clips.augment import chunks
from autox3d.vision.clips.loader import Batch
from autox3d.vision.learning.schedule import cosine, stepped
from autox3d.vision.tasks.task import Task


class Processes(Protocol):
    """The processes that share each step: `autox3d.runtime.distributed.World`."""

    @property
    def size(self) -> int:
        """The number of processes."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        ...

    @property
    def overlaps(self) -> bool:
        """Whether a device computes while its sums are under way."""
        ...

    def sum_(self, tensors: list[Tensor]) -> None:
        """Sums each tensor over the processes, in place."""
        ...

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Begins to sum a contiguous tensor over the processes; the result waits for the end."""
        ...


class NotFinite(FloatingPointError):
    """The loss or the gradient of a step is not finite; the step has updated no weight."""

    def __init__(self, line: str, chunks: list[int]) -> None:
        super().__init__(line)
        self.chunks = chunks  # numbers in the step of the chunks whose loss is not finite


class Schedule(NamedTuple):
    """The settings of a run that the loop needs."""

    seed: int
    epochs: int
    steps: int  # in an epoch
    warmup: int  # steps of warm-up
    peak: float  # learning rate, already scaled with the batch
    batch: int  # clips of a step, over all processes
    chunk: int  # clips that share batch-norm statistics
    pass_clips: int | None = None  # clips of a forward pass, at most; None: a chunk
    compiled: bool = False  # whether torch.compile makes the code of a pass
    drops: tuple[float, ...] = ()  # shares of the run at which the rate falls; empty: a cosine

    def rate(self, done: int) -> float:
        """The learning rate of the step after `done` steps."""
        total = self.epochs * self.steps
        if self.drops:
            return stepped(done, total, self.warmup, self.peak, self.drops)
        return cosine(done, total, self.warmup, self.peak)


class Step(NamedTuple):
    """The result of one step; loss and correct are sums over the clips of all processes."""

    epoch: int
    step: int  # within its epoch
    lr: float
    loss: float  # nats, sum over the batch
    correct: float  # correct clips, as the task counts them


class State:
    """All the state that a later process needs to resume with the same bits."""

    def __init__(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.net, self.optimiser = net, optimiser
        self.epoch, self.step = 0, 0  # of the next step
        self.history: list[dict[str, float]] = []  # one row for each epoch done
        self.sums = [0.0, 0.0]  # loss and correct clips of the epoch so far
        self.form: str | None = None  # of a pass, as `training.graph` has chosen it

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "sums": self.sums,
            "form": self.form,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores a saved state; one of an earlier version has no form."""
        self.net.load_state_dict(saved["net"])
        fused = [group["fused"] for group in self.optimiser.param_groups]  # of this device
        self.optimiser.load_state_dict(saved["optimiser"])
        for group, own in zip(self.optimiser.param_groups, fused, strict=True):
            group["fused"] = own
        self.epoch, self.step = saved["epoch"], saved["step"]
        self.history, self.sums = list(saved["history"]), list(saved["sums"])
        self.form = saved.get("form")


def train_steps(
    state: State,
    task: Task,
    schedule: Schedule,
    batches: Callable[[int, int], Iterable[Batch]],
    world: Processes,
    choose: Callable[[Passes, Pass], None] | None = None,
) -> Iterator[Step]:
    """Trains from the step that `state` has reached, and yields after every step.

    Args:
        batches: (epoch, first step) -> the remaining batches of that epoch.
        choose: chooses the form of the passes before the first of them, see `training.graph`

    Raises:
        NotFinite: on every process; the weights are as they were before the step.
    """
    passes = Passes(
        state.net,
        task,
        world.device,
        batch=schedule.batch,
        chunk=schedule.chunk,
        size=schedule.pass_clips or schedule.chunk,
        compiled=schedule.compiled,
    )
    several = world.size > 1 and world.overlaps
    reduction = Reduction(passes.parameters, passes.flat, world.begin_sum) if several else None
    while state.epoch < schedule.epochs:
        for batch in batches(state.epoch, state.step):
            done = state.epoch * schedule.steps + state.step
            lr = schedule.rate(done)
            parts = passes, reduction, schedule, world
            loss, correct = _step(state, *parts, batch, done, lr, choose)
            choose = None
            state.sums = [state.sums[0] + loss, state.sums[1] + correct]
            step = Step(state.epoch, state.step, lr, loss, correct)
            state.step += 1
            yield step
        state.epoch, state.step, state.sums = state.epoch + 1, 0, [0.0, 0.0]


def _step(
    state: State,
    passes: Passes,
    reduction: Reduction | None,
    schedule: Schedule,
    world: Processes,
    batch: Batch,
    done: int,
    lr: float,
    choose: Callable[[Passes, Pass], None] | None,
) -> tuple[float, float]:
    """Does one update; returns loss and correct clips, summed over the clips of all processes."""
    state.net.train()
    size = schedule.pass_clips or schedule.chunk
    seed = partial(chunk_seed, schedule.seed, done)
    passes.begin_step()
    for one in grouped(chunks(batch, world.device), size, seed):
        if choose:
            choose(passes, one)
            choose = None
            passes.begin_step()
        passes.take(one, reduction if one.chunks[-1][0] == batch.chunks[-1] else None)
    if reduction:
        reduction.finish()
    world.sum_([passes.counts] if reduction else [passes.flat, passes.counts])
    losses, loss, correct, norm = passes.results()
    _check(losses, norm, done)
    passes.end_step()
    for group in state.optimiser.param_groups:
        group["lr"] = lr
    state.optimiser.step()
    return loss, correct


def _check(losses: Sequence[float], norm: float, done: int) -> None:
    """Raises NotFinite, on all processes alike: the values are those of all processes."""
    odd = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
    if odd:
        raise NotFinite(f"the loss of step {done} is {losses[odd[0]]}", odd)
    if not math.isfinite(norm):
        raise NotFinite(f"the gradient of step {done} is not finite", [])


def chunk_seed(seed: int, step: int, chunk: int) -> int:
    """A seed for each (seed, step, chunk), different for all that occur in a run."""
    return (seed << 48) ^ (step << 16) ^ chunk
