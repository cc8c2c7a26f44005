"""One captured CUDA graph of a pass, replayed for each pass of a step, if it proves to be the same.

A pass launches thousands of kernels, which takes the host longer than it takes the device. A graph
launches them at once and computes the same. Whether it does so here is tried before the first step:
the same two passes five times as they are, then twice by the graph, with other clips, labels and
seeds than those of the capture. Loss, correct clips, statistics and the gradient of each parameter
must agree to the bit where the plain passes do, and elsewhere within their own differences, times
three since few are seen. Then parameters, statistics and generators are as they were. All processes
take one decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Any

import torch
from torch import (
    Tensor,
    _foreach_copy_,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_norm,  # pyright: ignore[reportPrivateImportUsage]
    _foreach_sub,  # pyright: ignore[reportPrivateImportUsage]
    nn,
)

from autox3d.training.passes import Pass, Passes, Replay
from autox3d.vision.learning.capture import Capture

CAPTURED, PLAIN = "captured", "plain"  # the forms of a pass, as checkpoints keep them
PLAIN_RUNS, GRAPH_RUNS = 5, 2
ALLOWED = 3  # times the largest difference of two plain runs
SEEDS = 2**62, 2**62 + 1  # of the trial's two passes, outside of those of a training


def choose(
    passes: Passes, first: Pass, capture: Capture, gather: Callable[[str], list[str]]
) -> str:
    """Has all passes of the size of `first` replayed, on all processes or on none.

    Args:
        first: a pass of the training; its clips are tried
        gather: returns the list of the values of all processes

    Returns:
        "" if the graph is used, or why it is not; the same on all processes
    """
    reason, kept = "", _Kept(passes.net, passes.device)
    try:
        reason = _tried(passes, first, capture, kept)
    except torch.OutOfMemoryError:
        reason = "there is not enough memory for it"
    except RuntimeError as error:
        reason = f"its capture failed ({str(error).partition(chr(10))[0]})"
    finally:
        kept.restore()
    reason = next(filter(None, gather(reason)), "")
    if reason:
        passes.replay = None
        if passes.device.type == "cuda":
            torch.cuda.empty_cache()  # of the graph's own memory
    return reason


def _tried(passes: Passes, first: Pass, capture: Capture, kept: _Kept) -> str:
    """Captures a pass and compares; returns what differs, "" if nothing does."""
    passes.replay = None
    plain = [_outcome(passes, first, kept) for _ in range(PLAIN_RUNS)]
    clips = torch.cat([clips for _, clips, _ in first.chunks])
    labels = torch.cat([labels for _, _, labels in first.chunks])
    run = capture(lambda: passes.run(clips, labels))
    kept.restore()  # a capture moves the running statistics
    passes.replay = Replay(clips, labels, run)
    replayed = [_outcome(passes, first, kept) for _ in range(GRAPH_RUNS)]
    null = torch.stack([_distance(one, other) for one, other in combinations(plain, 2)]).amax(0)
    pairs = [(plain[0], one) for one in replayed] + list(pairwise(replayed))
    found = torch.stack([_distance(one, other) for one, other in pairs]).amax(0)
    wrong = ~(found <= ALLOWED * null)  # NaN is wrong
    if not wrong.any():
        return ""
    place = int(wrong.nonzero()[0])
    return (
        f"{passes.parts[place]} differs by {found[place]:.1e}, "
        f"and from one plain pass to the next by {null[place]:.1e}"
    )


def _outcome(passes: Passes, first: Pass, kept: _Kept) -> list[Tensor]:
    """What two passes with the clips of `first` add up to, part by part; then all is restored."""
    passes.begin_step()
    losses: list[Tensor] = []
    for turn, seed in enumerate(SEEDS):
        chunks = [
            (number, clips.flip(-1 - turn), labels.roll(1 - turn, 0))
            for number, clips, labels in first.chunks
        ]
        passes.take(Pass(chunks, [seed + 2 * place for place in range(len(chunks))]))
        losses.append(passes.counts.clone())
    found = [part.clone() for part in passes.sums()]
    kept.restore()
    return [*losses, *found]


def _distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """The norm of the difference of each part, on the CPU."""
    norms = _foreach_norm(_foreach_sub(list(one), list(other)))
    return torch.stack([norm.double() for norm in norms]).cpu()


class _Kept:
    """Parameters, statistics and generators, to be restored."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self._tensors: list[Tensor] = [*net.parameters(), *net.buffers()]
        self._copies = [tensor.detach().clone() for tensor in self._tensors]
        self._device = device
        self._generators: list[Any] = [torch.get_rng_state()]
        if device.type == "cuda":
            self._generators.append(torch.cuda.get_rng_state(device))

    @torch.no_grad()
    def restore(self) -> None:
        """Puts everything back."""
        _foreach_copy_(self._tensors, self._copies)
        torch.set_rng_state(self._generators[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._generators[1], self._device)
