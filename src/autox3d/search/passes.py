"""The passes of a search step, and the gradient of the shared weights that they add up to.

    C, G  chunks of clips in a step, and groups of them; a pass takes one group
    K     networks of a chunk
    l_ck  log-likelihood of chunk c under its network k; W_ck its importance among the K

A group is one chunk (`streamed`), or several that share their networks (`twice`). The random
numbers of a pass follow, for each chunk, from (seed, half, step, chunk, draw).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import (
    Tensor,
    _foreach_add_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_mul_,  # pyright: ignore[reportPrivateImportUsage]
    nn,
)

from autox3d.search.dealing import Piece, deal, is_split
from autox3d.search.gradient_sum import GradientSum
from autox3d.search.space import Draw
from autox3d.search.state import SearchSchedule
from autox3d.vision.learning.noise import Noise
from autox3d.vision.tasks.task import Task

Chunk = tuple[int, Tensor, Tensor]  # index in step, clips (B, 3, T, H, W), labels (B, ...)
Batch = Iterable[Chunk]  # this process's chunks of one step, in the order of `deal`
Draws = list[list[Draw]]  # the networks of each chunk of a step
Reduce = Callable[[list[Tensor]], None]  # sums tensors over all processes, in place
Key = tuple[int, int, int]  # seed, half and step
Found = tuple[list[Tensor], Tensor]  # gradient of each parameter, l_ck (C, K) of all processes


class Group(NamedTuple):
    """The chunks that a pass takes together."""

    numbers: range  # of the chunks in their step
    clips: Tensor  # (B, 3, T, H, W)
    labels: Tensor  # (B, ...)
    sizes: list[int]  # clips of each chunk


class Work(NamedTuple):
    """What the passes of half a step have in common."""

    net: nn.Module  # (clips, draw) -> logits
    task: Task
    schedule: SearchSchedule
    draws: Draws
    key: Key

    def likelihoods(self, group: Group, index: int) -> Tensor:
        """Computes l_ck (chunks of the group,) of draw k = `index`, by one pass."""
        first = group.numbers[0]
        torch.manual_seed(self.seed(first, index))
        with torch.autocast(group.clips.device.type, torch.bfloat16, enabled=group.clips.is_cuda):
            logits = self.net(group.clips, self.draws[first][index])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if len(group.sizes) == 1:
            return -self.task.loss(logits, group.labels).reshape(1)
        parts = zip(logits.split(group.sizes), group.labels.split(group.sizes), strict=True)
        return -torch.stack([self.task.loss(*part) for part in parts])

    def seed(self, chunk: int, index: int) -> int:
        """The seed of the random numbers of a chunk in its pass through draw `index`."""
        return seed_of(*self.key, chunk, index)

    def groups(self, pieces: Iterable[Piece], batch: Batch) -> Iterator[tuple[Piece, Group]]:
        """Yields each piece with its group, whose chunks come from `batch` in their order."""
        chunks = iter(batch)
        for piece in pieces:
            yield piece, _group(self.schedule.members(piece.group), chunks)


def streamed(work: Work, batch: Batch, reduce: Reduce) -> Found:
    """Sums the strategy's gradient over the chunks of all processes, a chunk a pass.

    A process that has only some draws of a chunk works on these first. Once all log-likelihoods of
    such chunks are known, each gradient counts by its share; so a process holds two at most.
    """
    schedule, parameters = work.schedule, list(work.net.parameters())
    pieces = deal(schedule.groups, schedule.draws, *schedule.place)
    tables = torch.zeros(2, schedule.chunks, schedule.draws, dtype=torch.float64)

    def gradient(piece: Piece, group: Group) -> list[Tensor]:
        """The gradient of one piece; its log-likelihoods go to one of the tables."""
        forwards = (
            lambda index=index: work.likelihoods(group, index).reshape(()) for index in piece.draws
        )
        scale = schedule.scale(piece.group)
        found, values = schedule.strategy.weight_gradient(forwards, parameters, scale)
        tables[int(piece.whole), piece.group, _slice(piece.draws)] = values
        return found

    passes = work.groups(pieces, batch)
    shared = [one for one in pieces if not one.whole]
    found = [gradient(*one) for one in islice(passes, len(shared))]
    if is_split(schedule.groups, schedule.draws, schedule.place[1]):
        reduce([tables[0]])
    shares = [_share(schedule, tables[0], piece) for piece in shared]
    total = _mean(found, shares)
    for one in passes:
        total = _added(total, gradient(*one))
    total = total or [torch.zeros_like(one) for one in parameters]  # there was no pass
    reduce([*total, tables[1]])
    return total, tables.sum(0)


def twice(work: Work, batch: Batch, reduce: Reduce) -> Found:
    """Sums sum_k W_ck grad l_ck over the chunks of all processes, several chunks a pass.

    A gradient that is summed over chunks can no longer be weighted chunk by chunk, so importances
    come first: each network is passed without a graph for all l_ck, then both ways for the gradient
    of sum_c W_ck l_ck, unless nothing weighs it. That is 4/3 of the multiply-adds, in fewer and
    larger passes; the memory is that of one network with the clips of a pass.
    """
    schedule, sums = work.schedule, GradientSum(list(work.net.parameters()))
    noise = Noise(work.net, schedule.per_pass * schedule.chunk, sums.flat.device)
    pieces = deal(schedule.groups, schedule.draws, *schedule.place)
    tables = torch.zeros(2, schedule.chunks, schedule.draws, dtype=torch.float64)
    passes = work.groups(pieces, batch)
    shared = list(islice(passes, sum(not piece.whole for piece in pieces)))
    for piece, group in shared:
        _look(work, noise, piece, group, tables[0])
    if is_split(schedule.groups, schedule.draws, schedule.place[1]):
        reduce([tables[0]])
    for piece, group in shared:
        _add(work, noise, piece, group, tables[0], sums)
    for piece, group in passes:
        _look(work, noise, piece, group, tables[1])
        _add(work, noise, piece, group, tables[1], sums)
    reduce([sums.flat, tables[1]])
    return sums.parts(), tables.sum(0)


def _look(work: Work, noise: Noise, piece: Piece, group: Group, table: Tensor) -> None:
    """Writes the log-likelihoods of a piece into a table (C, K): the host waits once."""
    with torch.inference_mode():
        found = torch.stack([_noisy(work, noise, group, index) for index in piece.draws])
    table[_slice(group.numbers), _slice(piece.draws)] = found.T.cpu()


def _add(
    work: Work,
    noise: Noise,
    piece: Piece,
    group: Group,
    table: Tensor,
    sums: GradientSum,
) -> None:
    """Adds the gradient of a piece; the table (C, K) has all log-likelihoods of its chunks."""
    schedule = work.schedule
    rows = [schedule.strategy.weigh(table[c], schedule.scale(c)) for c in group.numbers]
    weights = torch.stack(rows)  # (chunks of the group, K)
    there = weights.to(sums.flat, non_blocking=True)
    every = weights.numpy()  # on the host: no wait
    for index in piece.draws:
        if not every[:, index].any():
            continue
        sums.add((_noisy(work, noise, group, index) * there[:, index]).sum())


def _noisy(work: Work, noise: Noise, group: Group, index: int) -> Tensor:
    """l_ck of a group whose chunks have the noise that they would have alone."""
    noise.draw(group.sizes, [work.seed(number, index) for number in group.numbers])
    with noise.given():
        return work.likelihoods(group, index)


def alpha_likelihoods(work: Work, batch: Batch) -> Tensor:
    """Computes the l_ck (C, K) of this process's passes, without graphs; the others are 0."""
    schedule = work.schedule
    table = torch.zeros(schedule.chunks, schedule.alpha_draws, dtype=torch.float64)
    pieces = deal(schedule.groups, schedule.alpha_draws, *schedule.place)
    for piece, group in work.groups(pieces, batch):
        with torch.inference_mode():
            found = torch.stack([work.likelihoods(group, index) for index in piece.draws])
        table[_slice(group.numbers), _slice(piece.draws)] = found.T.cpu()
    return table


def _group(numbers: range, chunks: Iterator[Chunk]) -> Group:
    """Takes the next chunks, which have these numbers."""
    some = list(islice(chunks, len(numbers)))
    assert [number for number, _, _ in some] == list(numbers)
    clips, labels = [one for _, one, _ in some], [one for _, _, one in some]
    return Group(numbers, _joined(clips), _joined(labels), [len(one) for one in clips])


def seed_of(*numbers: int) -> int:
    """Hashes a tuple of numbers to a seed."""
    text = " ".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _slice(numbers: range) -> slice:
    return slice(numbers.start, numbers.stop)


def _share(schedule: SearchSchedule, table: Tensor, piece: Piece) -> float:
    """The weight that the draws of a piece have among all draws of its chunk."""
    weights = schedule.strategy.weigh(table[piece.group], schedule.scale(piece.group))
    return weights[piece.draws.start : piece.draws.stop].sum().item()


def _mean(gradients: Sequence[list[Tensor]], shares: Sequence[float]) -> list[Tensor]:
    """Sums gradients times their shares into the first one; empty if there are none."""
    for gradient, share in zip(gradients, shares, strict=True):
        _foreach_mul_(gradient, share)
    for gradient in gradients[1:]:
        _foreach_add_(gradients[0], gradient)
    return gradients[0] if gradients else []


def _added(total: list[Tensor], gradient: list[Tensor]) -> list[Tensor]:
    """Adds a gradient to the total; an empty one is made here, where no activations are alive."""
    total = total or [torch.zeros_like(one) for one in gradient]
    _foreach_add_(total, gradient)
    return total
