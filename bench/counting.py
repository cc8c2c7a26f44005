"""Counts what a GPU would be asked for: kernels launched, and waits of the host for the device.

    python -m bench.counting    # a training step and a draw of a search, without a GPU

What is dispatched does not depend on the sizes of tensors, so small ones on a CPU are counted, in
the types of a GPU's autocast and by PyTorch's operators (`kernels.reference`), of which Triton does
several at once where it is taken: `bench.traffic` counts those. A view or an allocation launches
nothing, and an operation over a list of tensors one kernel for as many as torch puts into one. Only
the counts of one program can be compared: a real one may launch more.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autox3d.search.passes import Work, twice
from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space
from autox3d.search.strategies.parsec import STRATEGY
from autox3d.search.supernet import Supernet
from autox3d.training.loop import Schedule, State, train_steps
from autox3d.training.passes import Pass, Passes, Replay
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.loader import Batch
from autox3d.vision.kernels import reference, using
from autox3d.vision.learning.schedule import sgd
from autox3d.vision.models.network import VideoNet, set_training
from autox3d.vision.tasks.classify import TASK

ARCHITECTURES = Path(__file__).parents[1] / "architectures"

SEVERAL = {  # kernels of one operation, where there are more than one
    "native_batch_norm": 2,  # statistics, then the values
    "native_batch_norm_backward": 2,
    "convolution_backward": 2,  # for the input and for the weight
    "_local_scalar_dense": 0,  # a copy, counted as a wait
}
NOTHING = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "_unsafe_view")
LISTED = (110, 64, 48, 36, 30)  # tensors of one multi-tensor kernel, for one list, two, ...
CONCATENATED = 128  # tensors of one kernel of `cat`
WAITS = ("item", "tolist", "cpu", "nonzero", "__bool__", "__float__", "__int__")


class Counts:
    """The launches and the waits of a block, by operation."""

    def __init__(self) -> None:
        self.by_operation: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.kept_out = 0  # launches that a captured graph makes, see `graph`

    @property
    def launches(self) -> int:
        """All kernels launched by the host."""
        return self.by_operation.total()

    @property
    def waited(self) -> int:
        """How often the host waits for the device."""
        return self.waits.total()

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        """A "capture": the work runs as it is, and each replay counts as one launch."""

        def replay() -> None:
            before = self.by_operation.copy()
            work()
            self.kept_out += self.launches - before.total()
            self.by_operation = before
            self.by_operation["replay"] += 1

        return replay


@contextmanager
def counting(counts: Counts | None = None) -> Iterator[Counts]:
    """Counts in the block, as on a GPU: bfloat16 where autocast is asked for, torch's operators."""
    counts = counts or Counts()
    with ExitStack() as stack:
        stack.enter_context(using(reference))
        stack.enter_context(mock.patch.object(torch, "autocast", _as_on_a_gpu))
        stack.enter_context(_Launches(counts))
        stack.enter_context(_Waits(counts))
        yield counts


_autocast = torch.autocast


def _as_on_a_gpu(device: str, dtype: torch.dtype | None = None, **_: object) -> Any:
    return _autocast("cpu", torch.bfloat16)


class _Launches(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.split("::")[1]
        count = _kernels(func, name, args)
        if count:
            self.counts.by_operation[name] += count
        return func(*args, **(kwargs or {}))


class _Waits(TorchFunctionMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in WAITS and args and isinstance(args[0], Tensor):
            self.counts.waits[name] += 1
        return func(*args, **(kwargs or {}))


def _kernels(func: Any, name: str, args: tuple[Any, ...]) -> int:
    """How many kernels an operation launches."""
    if name in NOTHING or _is_view(func):
        return 0
    lists = [one for one in args if isinstance(one, (list, tuple)) and one]
    lists = [one for one in lists if isinstance(one[0], Tensor)]
    if name.startswith(("_foreach", "_fused")):
        return _of_lists(lists)
    if name == "cat":
        return -(-len(lists[0]) // CONCATENATED)
    return SEVERAL.get(name, 1)


def _is_view(func: Any) -> bool:
    """Whether the operation returns its input in another shape, and writes nothing."""
    marks = [value.alias_info for value in func._schema.returns]
    return bool(marks) and all(mark is not None and not mark.is_write for mark in marks)


def _of_lists(lists: list[Any]) -> int:
    """Kernels of a multi-tensor operation: one a tensor where types, shapes or strides differ."""
    count, first = len(lists[0]), lists[0]
    alike = all(one.dtype == first[0].dtype for some in lists for one in some)
    for some in lists[1:]:
        pairs = zip(first, some, strict=True)
        alike &= all(a.shape == b.shape and a.stride() == b.stride() for a, b in pairs)
    return -(-count // LISTED[len(lists) - 1]) if alike else count


def training_step(*, captured: bool, chunks: int = 8) -> Counts:
    """Counts a step of X3D-S by the loop of training, in as many chunks, without AutoAugment."""
    genotype = Genotype.load(ARCHITECTURES / "x3d_s.yaml")
    genotype = replace(genotype, input=replace(genotype.input, frames=4, crop=32, short=32))
    net, size = VideoNet(genotype, 5), 2
    set_training(net, bn_clips=size, dropout=0.5)
    state, batch = State(net, sgd(net, 0.9, 5e-5)), size * chunks
    for group in state.optimiser.param_groups:
        group["fused"] = True  # as `sgd` sets it on a GPU
    shape, counts = (batch, *[4, 32, 32, 3]), Counts()
    pixels, labels = torch.zeros(shape, dtype=torch.uint8), torch.zeros(batch, dtype=torch.long)
    one = Batch(pixels, labels, labels, range(chunks), [size] * chunks, [()] * batch)
    schedule = Schedule(1, 1, 10**6, 0, 0.1, batch, size)
    world: Any = SimpleNamespace(size=1, device=torch.device("cpu"), sum_=lambda tensors: None)

    def capture(passes: Passes, first: Pass) -> None:
        ((_, clips, labels),) = first.chunks
        run = counts.graph(lambda: passes.run(clips, labels))
        passes.replay = Replay(clips, labels, run)

    steps = train_steps(
        state, TASK, schedule, lambda *_: iter([one] * 2), world, capture if captured else None
    )
    next(steps)
    with counting(counts):
        next(steps)
    return counts


def draw(*, draws: int = 2, space: str = "space_autox3d") -> tuple[float, int]:
    """Launches of a draw of the weights' half of a search, both ways, and waits of its chunk."""
    found = Space.load(ARCHITECTURES / f"{space}.yaml")
    found = replace(found, input=replace(found.input, frames=4, crop=32, short=32))
    torch.manual_seed(1)
    net, generator = Supernet(found, 5, "fair").train(), torch.Generator().manual_seed(2)
    prior = Prior([len(choice.candidates) for choice in found.choices])
    clips, labels = torch.zeros(2, 3, 4, 32, 32), torch.zeros(2, dtype=torch.long)
    parameters = list(net.parameters())

    def forward(path: Draw) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            logits = net(clips, path)
        return -TASK.loss(logits.float(), labels)

    def counted(count: int) -> Counts:
        paths = prior.sample(count, generator)
        with counting() as counts, mock.patch.object(Tensor, "is_cuda", True):
            forwards = (partial(forward, path) for path in paths)
            STRATEGY.weight_gradient(forwards, parameters, 1.0)
        return counts

    none, some = counted(1), counted(1 + draws)
    return (some.launches - none.launches) / draws, some.waited


def shared_draw(chunks: int, *, space: str = "space_autox3d") -> tuple[float, int]:
    """Launches of a shared draw for each of so many chunks of one pass, and waits of the group."""
    found = Space.load(ARCHITECTURES / f"{space}.yaml")
    found = replace(found, input=replace(found.input, frames=4, crop=32, short=32))
    torch.manual_seed(1)
    net, generator = Supernet(found, 5, "fair").train(), torch.Generator().manual_seed(2)
    set_training(net, bn_clips=2, dropout=0.5)
    prior = Prior([len(choice.candidates) for choice in found.choices])
    clips, labels = torch.zeros(2, 3, 4, 32, 32), torch.zeros(2, dtype=torch.long)
    batch = [(number, clips, labels) for number in range(chunks)]

    def counted(count: int) -> Counts:
        draws = prior.sample(count, generator)
        schedule: Any = _Schedule(chunks, count)
        work = Work(net, TASK, schedule, [draws] * chunks, (1, 0, 0))
        with counting() as counts:
            twice(work, batch, lambda tensors: None)
        return counts

    none, some = counted(1), counted(2)
    return (some.launches - none.launches) / chunks, some.waited


class _Schedule(SimpleNamespace):
    """What `twice` reads of a schedule: one group of chunks, on one process."""

    def __init__(self, chunks: int, draws: int) -> None:
        super().__init__(chunks=chunks, per_pass=chunks, groups=1, draws=draws, chunk=2)
        self.place, self.strategy = (0, 1), STRATEGY
        self.members, self.scale = lambda group: range(chunks), lambda chunk: 1.0


def main() -> None:
    """Prints a table in Markdown."""
    how = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=how).parse_args()
    launches, waited = draw()
    print("| a draw of the search, both ways | launches | waits |\n|---|---|---|")
    print(f"| as a whole network | {launches:.0f} | {waited} |")
    for chunks in (2, 4, 8):
        launches, waited = shared_draw(chunks)
        print(f"| {chunks} chunks a pass, a chunk | {launches:.0f} | {waited} a group |")
    print()
    print("| X3D-S, 8 chunks a step | launches | in graphs | waits |\n|---|---|---|---|")
    for name, captured in (("plain", False), ("captured", True)):
        found = training_step(captured=captured)
        print(f"| {name} | {found.launches} | {found.kept_out} | {found.waited} |")


if __name__ == "__main__":
    main()
