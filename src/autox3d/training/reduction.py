"""Sums the gradient over the processes while the last backward pass of a step still computes.

A backward pass comes to the last parameters first. So the gradient, which lies in one tensor in
the order of the parameters, is divided into buckets from its end. Once a pass has all gradients of
a bucket, they are added to those of earlier passes, and the bucket is sent, one after another, so
that all processes send them in one order. A pass that is replayed from a CUDA graph is launched as
a whole, and its buckets are sent behind it. The division follows from the sizes of the parameters
alone, and so do the bits of the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

from torch import (
    Tensor,
    _foreach_add_,  # pyright: ignore[reportPrivateImportUsage]
    nn,
)

LEAST = 2**20  # numbers of a bucket, 4 MiB in float32: below, a message takes as long as a smaller

Begin = Callable[[Tensor], Callable[[], None]]  # begins a sum in place; the result waits for it


class Bucket(NamedTuple):
    """Parameters that lie side by side, and the numbers of their gradients in the flat tensor."""

    parameters: range
    numbers: slice


def divided(sizes: Sequence[int], total: int, least: int = LEAST) -> list[Bucket]:
    """Divides gradients of these sizes into buckets of at least `least` numbers, the last first.

    The first bucket has what follows the gradients, up to `total`, as well; the last one may be
    smaller than the others.
    """
    buckets: list[Bucket] = []
    stop, end, start = len(sizes), total, sum(sizes)
    for number in range(len(sizes) - 1, -1, -1):
        start -= sizes[number]
        if end - start >= least or not number:
            buckets.append(Bucket(range(number, stop), slice(start, end)))
            stop, end = number, start
    return buckets


class Reduction:
    """The sums of a step over all processes.

    Args:
        parameters: of the network, in order
        flat: their gradients, then what else is summed; ready before the last backward pass ends
        begin: begins to sum a part of it over the processes
        least: numbers of a bucket
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], flat: Tensor, begin: Begin, least: int = LEAST
    ) -> None:
        self.parameters, self.flat, self.begin = parameters, flat, begin
        sizes = [parameter.numel() for parameter in parameters]
        self.buckets = divided(sizes, len(flat), least)
        self._places = flat[: sum(sizes)].split(sizes)
        self._found: dict[int, Tensor] = {}  # gradients of the last pass that no bucket has yet
        self._ends: list[Callable[[], None]] = []  # of the buckets that are under way

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In the block is the last backward pass; each bucket is sent once it is whole."""
        with ExitStack() as hooks:
            for number, parameter in enumerate(self.parameters):
                if parameter.requires_grad:
                    handle = parameter.register_hook(partial(self._arrived, number))
                    hooks.callback(handle.remove)
            yield

    def _arrived(self, number: int, grad: Tensor) -> None:
        self._found[number] = grad
        while len(self._ends) < len(self.buckets):
            if any(n not in self._found for n in self.buckets[len(self._ends)].parameters):
                return
            self._send()

    def _send(self) -> None:
        """Adds what the last pass has found for the next bucket, and begins its sum."""
        bucket = self.buckets[len(self._ends)]
        used = [number for number in bucket.parameters if number in self._found]
        if used:
            grads = [self._found.pop(number).reshape(-1) for number in used]
            _foreach_add_([self._places[number] for number in used], grads)
        self._ends.append(self.begin(self.flat[bucket.numbers]))

    def finish(self) -> None:
        """Sends the buckets that are left, and waits for all."""
        while len(self._ends) < len(self.buckets):
            self._send()
        for wait in self._ends:
            wait()
        self._ends.clear()
