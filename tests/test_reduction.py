"""Sums over processes begin while the last backward pass computes, and change no training."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from bench.efficiency import Links, messages, search_steps, steps
from support import ARCHITECTURES, spaces
from support import passes as single
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from autox3d.runtime.distributed import World, join
from autox3d.training import loop
from autox3d.training.graph import choose
from autox3d.training.loop import State, train_steps
from autox3d.training.passes import Pass, Passes, grouped
from autox3d.training.reduction import LEAST, Reduction, divided
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.loader import Batch
from autox3d.vision.learning.schedule import sgd
from autox3d.vision.models.network import VideoNet
from autox3d.vision.tasks.classify import TASK

SMALL = 300  # numbers of a bucket here: the network has 2,275


@pytest.fixture
def genotype(tmp_path: Path) -> Genotype:
    path = tmp_path / "s.yaml"
    path.write_text(spaces.GENOTYPE)
    return Genotype.load(path)


@pytest.mark.parametrize("least", [1, 7, 10, 1000])
def test_buckets_are_the_numbers_from_the_end(least):
    """Each number once, none but the last one too small; what follows the gradients is first."""
    sizes, total = [5, 1, 9, 2, 4], 24  # 21 gradients, 3 other numbers

    buckets = divided(sizes, total, least)

    assert [n for one in buckets[::-1] for n in one.parameters] == list(range(len(sizes)))
    assert [n for one in buckets[::-1] for n in range(total)[one.numbers]] == list(range(total))
    assert all(len(range(total)[one.numbers]) >= least for one in buckets[:-1])
    starts = [sum(sizes[: one.parameters.start]) for one in buckets]
    assert starts == [one.numbers.start for one in buckets]


def test_a_bucket_is_sent_whole_before_the_pass_has_ended(genotype):
    """What is sent is what a plain step adds up to; all but the stem's bucket goes on the way."""
    wanted, _ = single.sums(genotype, single.CHUNK)
    net = single.new_net(genotype)
    passes = single.new_passes(net)
    sent: list[Tensor] = []
    before_the_stem: list[int] = []
    net.stem.space.weight.register_hook(lambda grad: before_the_stem.append(len(sent)))

    def begin(part: Tensor) -> Callable[[], None]:
        sent.append(part.clone())
        return lambda: None

    reduction = Reduction(passes.parameters, passes.flat, begin, SMALL)
    for end in (len(wanted), len(passes.gradient)):  # a step leaves nothing behind
        passes.begin_step()
        sent.clear()
        every = list(grouped(single.chunks(), single.CHUNK, lambda number: 100 + number))
        for one in every[:-1]:
            passes.take(one)
        passes.take(every[-1], reduction)
        reduction.finish()

        assert torch.equal(torch.cat(sent[::-1])[:end], wanted[:end])
        assert len(sent) == len(reduction.buckets) > 4
        assert before_the_stem[-1] == len(sent) - 1


def test_parameters_without_a_gradient_are_sent_at_the_end(genotype):
    """A network may leave some out; their numbers are zero, and no process waits for ever."""
    passes = single.new_passes(single.new_net(genotype))
    sent: list[int] = []
    begin = lambda part: (sent.append(len(part)), lambda: None)[1]  # noqa: E731
    reduction = Reduction(passes.parameters, passes.flat, begin, SMALL)
    last = passes.parameters[-1]
    with reduction.watching():
        torch.autograd.grad((2 * last).sum(), passes.parameters, allow_unused=True)
    assert sent == []
    reduction.finish()

    assert sum(sent) == len(passes.flat)
    assert passes.gradient[-last.numel() :].tolist() == [2] * last.numel()
    assert passes.gradient[: -last.numel()].abs().sum() == 0


class Overlapping(World):
    """A world of CPUs that takes the way of a GPU."""

    overlaps = True  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def batches(rank: int, size: int, epoch: int, start: int) -> Iterator[Batch]:
    """The chunks of `single.batches` that a rank has: those from `rank` on, in steps of `size`."""
    for whole in single.batches(epoch, start):
        parts = list(
            zip(whole.clips.split(whole.sizes), whole.labels.split(whole.sizes), strict=True)
        )
        mine = list(range(len(parts)))[rank::size]
        clips = torch.cat([whole.clips[:0], *(parts[n][0] for n in mine)])
        labels = torch.cat([whole.labels[:0], *(parts[n][1] for n in mine)])
        sizes = [whole.sizes[n] for n in mine]
        yield Batch(clips, labels, labels, mine, sizes, [()] * len(clips))


def trained(genotype: Genotype, world: World, *, captured: bool = False) -> dict[str, Tensor]:
    """The weights after a short training by all ranks."""
    net = single.new_net(genotype)
    state = State(net, sgd(net, 0.9, 5e-5))
    mine = functools.partial(batches, world.rank, world.size)

    def take(passes: Passes, first: Pass) -> None:
        assert choose(passes, first, single.same, world.gather) == ""

    with mock.patch.object(loop, "Reduction", functools.partial(Reduction, least=SMALL)):
        done = train_steps(state, TASK, single.SCHEDULE, mine, world, take if captured else None)
        list(done)
    return {name: of for name, of in net.state_dict().items() if of.is_floating_point()}


def process(rank: int, size: int, port: int, folder: Path) -> None:
    """One rank: the training by one message a step, by buckets, again, and captured."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    torch.set_num_threads(1)
    sent: list[int] = []
    all_reduce = dist.all_reduce

    def counted(tensor: Tensor, **more: Any) -> Any:
        sent.append(tensor.nbytes)
        return all_reduce(tensor, **more)

    genotype = Genotype.load(folder / "s.yaml")
    with join() as world:
        other = Overlapping(world.rank, world.size, world.device)
        found = {"plain": trained(genotype, world)}
        with mock.patch.object(dist, "all_reduce", counted):
            found["buckets"] = trained(genotype, other)
        found["again"] = trained(genotype, other)
        if size == 2:
            found["captured"] = trained(genotype, other, captured=True)
    torch.save((found, sent), folder / f"{rank}.pt")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("size", [2, 5])
def test_processes_are_one_training(runner, tmp_path, size):
    """By buckets, with 4 chunks for 5 processes too; counted: a message a bucket and one more."""
    (tmp_path / "s.yaml").write_text(spaces.GENOTYPE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(process, (size, port, tmp_path), size, start_method="forkserver")
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(size)]
    one, alone = found[0][0], single.trained(Genotype.load(tmp_path / "s.yaml"))[1]

    for weights, sent in found:
        assert sent == found[0][1]
        for form in one:
            assert all(torch.equal(weights[form][name], one[form][name]) for name in one[form])
    for name, weight in one["buckets"].items():
        assert torch.equal(weight, one["again"][name])
        assert torch.allclose(weight.double(), alone[name].double(), atol=1e-5)
        if size == 2:  # a sum of two numbers has no order
            assert torch.equal(weight, one["plain"][name])
            assert torch.equal(weight, one["captured"][name])

    net = single.new_net(Genotype.load(tmp_path / "s.yaml"))
    passes, count = single.new_passes(net), single.SCHEDULE.epochs * single.SCHEDULE.steps
    buckets = divided([p.numel() for p in passes.parameters], len(passes.flat), SMALL)
    numbers = range(len(passes.flat))
    step = [4 * len(numbers[one.numbers]) for one in buckets] + [8 * (single.CHUNKS + 1)]
    assert found[0][1] == step * count


def test_efficiency_is_predicted_from_what_is_counted():
    """Bytes by the independent count of parameters; a GPU loses nothing, more of them lose more."""
    genotype = Genotype.load(ARCHITECTURES / "x3d_s.yaml")
    sizes = messages("x3d_s", 400, 64)
    net = VideoNet(genotype, 400)
    running = sum(of.numel() for name, of in net.named_buffers() if "running" in name)
    assert sum(sizes) == 4 * (cost(genotype, 400).params + running) + 8 * 65
    assert all(size >= 4 * LEAST for size in sizes[:-2])

    for found in (
        steps([1, 2, 8, 60, 64], 64, sizes, 2.0, 1.0, Links()),
        search_steps([1, 2, 8, 60, 64], 24, (13, 13), 10**7, 5.0, 1.0, Links()),
    ):
        assert found[0].behind == found[0].overlapped == 1
        rates = [one.behind for one in found]
        assert rates[:4] == sorted(rates[:4], reverse=True)
        assert all(one.behind <= one.overlapped < 1 for one in found[1:])
        assert rates[4] > rates[3]  # of 64 chunks, 60 processes keep four waiting
    free = Links(inside=1e9, between=1e9, hop_inside=0, hop_between=0)
    (eight,) = steps([8], 64, sizes, 2.0, 0.0, free)
    assert eight.behind == pytest.approx(1)
