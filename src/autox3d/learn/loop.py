"""Training: a straight line of steps, each one the mean gradient of a fixed number of clips.

A step's batch comes in chunks of fixed size. A chunk shares batch-norm statistics and draws its
dropout from its own number, so the number of processes that share a step's chunks changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autox3d.learn.augment import normalise
from autox3d.learn.schedule import cosine


class Clips(Protocol):
    """The share of one step's clips that this process works on."""

    @property
    def clips(self) -> Tensor:
        """uint8 (B, T, H, W, 3), whole chunks."""
        ...

    @property
    def labels(self) -> Tensor:
        """int64 (B,)."""
        ...

    @property
    def chunks(self) -> Tensor:
        """int64 (B / chunk,): the chunks' numbers in the step."""
        ...


class Processes(Protocol):
    """The processes that share each step: `autox3d.run.distributed.World`."""

    @property
    def size(self) -> int:
        """How many."""
        ...

    @property
    def device(self) -> torch.device:
        """Of this one."""
        ...

    def sum_(self, tensors: list[Tensor]) -> None:
        """Each tensor becomes its sum over the processes, in place."""
        ...


class Recipe(NamedTuple):
    """The numbers of a run that the loop needs."""

    seed: int
    epochs: int
    steps: int  # an epoch
    warmup: int  # steps
    peak: float  # learning rate, already scaled with the batch
    batch: int  # clips a step, over all processes
    chunk: int  # clips that share batch-norm statistics


class Step(NamedTuple):
    """What one step did; sums over the clips of all processes."""

    epoch: int
    step: int  # in its epoch
    rate: float
    loss: float  # nats, sum over the batch
    hits: float  # clips whose best class is right


class State:
    """Everything that a later process needs to go on to the same bits."""

    def __init__(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.net, self.optimiser = net, optimiser
        self.epoch, self.step = 0, 0  # the next step to do
        self.history: list[dict[str, float]] = []  # one row for each epoch that is done
        self.sums = [0.0, 0.0]  # loss and hits of the epoch so far

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data only."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "sums": self.sums,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes over a saved state."""
        self.net.load_state_dict(saved["net"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.epoch, self.step = saved["epoch"], saved["step"]
        self.history, self.sums = list(saved["history"]), list(saved["sums"])


def fit(
    state: State,
    recipe: Recipe,
    batches: Callable[[int, int], Iterable[Clips]],
    world: Processes,
) -> Iterator[Step]:
    """Trains from where `state` stands, and hands over after every step.

    Args:
        batches: (epoch, first step) -> the batches of the rest of that epoch.

    Raises:
        FloatingPointError: the loss of a step is not finite; the weights are those before it.
    """
    while state.epoch < recipe.epochs:
        for batch in batches(state.epoch, state.step):
            done = state.epoch * recipe.steps + state.step
            rate = cosine(done, recipe.epochs * recipe.steps, recipe.warmup, recipe.peak)
            loss, hits = _step(state, recipe, batch, world, done, rate)
            state.sums = [state.sums[0] + loss, state.sums[1] + hits]
            step = Step(state.epoch, state.step, rate, loss, hits)
            state.step += 1
            yield step
        state.epoch, state.step, state.sums = state.epoch + 1, 0, [0.0, 0.0]


def _step(
    state: State, recipe: Recipe, batch: Clips, world: Processes, done: int, rate: float
) -> tuple[float, float]:
    """One update; (loss, hits) summed over the clips of all processes."""
    state.net.train()
    state.optimiser.zero_grad(set_to_none=True)
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)
    for number, clips, labels in chunks(batch, recipe.chunk, world.device):
        torch.manual_seed(chunk_seed(recipe.seed, done, number))  # dropout
        with torch.autocast(world.device.type, torch.bfloat16, enabled=world.device.type == "cuda"):
            logits = state.net(clips)
        loss = F.cross_entropy(logits.float(), labels, reduction="sum")
        (loss / recipe.batch).backward()
        sums += torch.stack([loss.detach(), (logits.argmax(1) == labels).sum()])
    _share(state.net, sums, world)
    if not torch.isfinite(sums[0]):
        raise FloatingPointError(f"the loss of step {done} is {sums[0].item()}")
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.step()
    return sums[0].item(), sums[1].item()


def _share(net: nn.Module, sums: Tensor, world: Processes) -> None:
    """Gradients and `sums` become those of all processes, running statistics their mean."""
    for parameter in net.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    statistics = [b for b in net.buffers() if b.is_floating_point()]
    world.sum_([*grads, *statistics, sums])
    for statistic in statistics if world.size > 1 else []:
        statistic /= world.size


def chunks(batch: Clips, size: int, device: torch.device) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(number in the step, (size, 3, T, H, W) normalised, (size,) labels) of each chunk."""
    pieces = zip(
        batch.chunks.tolist(), batch.clips.split(size), batch.labels.split(size), strict=True
    )
    for number, clips, labels in pieces:
        moved = clips.to(device, non_blocking=True)
        yield number, normalise(moved), labels.to(device, non_blocking=True)


def chunk_seed(seed: int, step: int, chunk: int) -> int:
    """One number for each (seed, step, chunk); different for all that a run can meet."""
    return (seed << 48) ^ (step << 16) ^ chunk
