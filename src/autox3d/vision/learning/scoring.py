"""Scores of the views of test videos, many views at a time.

    V views, T frames, S x S pixels, C classes

On a CPU a network scores as it was trained, the views of one video at a time: its results do not
depend on how many there are. On a GPU its batch norms are folded into the convolutions, it computes
in bfloat16, views are cut from frames that are there already, several videos share a pass, and
scores are fetched one pass late, so that neither the device nor the process waits for the other.
A test's passes are captured as a CUDA graph when their size comes a second time, if the graph gives
the scores of that pass to the bit, and replayed from then on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.videos import VideoViews
from autox3d.vision.learning.capture import Capture, Work
from autox3d.vision.models.fold import fast_dtype, folded
from autox3d.vision.models.network import VideoNet
from autox3d.vision.tasks.task import Task

T = TypeVar("T")


class Replay(NamedTuple):
    """A pass that was captured: it reads its views here, and puts their scores there."""

    views: Tensor  # uint8 (V, T, S, S, 3)
    scores: Tensor  # (V, C)
    run: Work


class Scorer:
    """A network that scores views, up to `batch` in a pass, and fewer once memory has run out.

    Args:
        net: on the device; set to evaluation mode. In float32 on a GPU it computes by autocast.
        capture: for a network whose weights stay as they are: makes of a pass what repeats it
    """

    def __init__(
        self,
        net: nn.Module,
        task: Task,
        device: torch.device,
        batch: int,
        capture: Capture | None = None,
    ) -> None:
        self.net, self.task, self.device, self.batch = net.eval(), task, device, batch
        self.dtype = next(net.parameters()).dtype
        self._capture = capture
        self._replays: dict[torch.Size, Replay | None] = {}  # None: a size that came once

    @torch.inference_mode()
    def __call__(self, views: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Scores views: uint8 (V, T, S, S, 3) -> float32 (V, C), on the device.

        Args:
            boxes: (V, M, 4) in the views; the scores are then (V, M, C)

        Raises:
            torch.OutOfMemoryError: the device cannot hold a single view.
        """
        parts: list[Tensor] = []
        given = [] if boxes is None else [boxes]
        while (done := sum(map(len, parts))) < len(views):
            try:
                some = slice(done, done + self.batch)
                parts.append(self._scores(views[some], *(one[some] for one in given)))
            except torch.OutOfMemoryError:
                if any(self._replays.values()):
                    self._give_up("passes of other sizes need its memory")
                    continue
                if self.batch == 1:
                    raise
                self.batch = (self.batch + 1) // 2
                print(f"{self.device}: out of memory; {self.batch} views a pass.", file=sys.stderr)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def videos(self, videos: Sequence[VideoViews]) -> Tensor:
        """Scores the views of several videos in common passes: float32 (V of all, C)."""
        clips = [video.clips for video in videos]
        boxes = torch.cat([video.boxes for video in videos]) if self.task.boxed else None
        return self(clips[0] if len(clips) == 1 else torch.cat(clips), boxes)

    def _scores(self, views: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The scores of a pass, by its replay where there is one."""
        if self._capture is None or boxes is not None:
            return self._pass(views, boxes)
        if replay := self._replays.get(views.shape):
            replay.views.copy_(views)
            replay.run()
            return replay.scores.clone()
        scores = self._pass(views)
        if views.shape in self._replays:
            self._try(self._capture, views, scores)
        else:
            self._replays[views.shape] = None
        return scores

    def _try(self, capture: Capture, views: Tensor, scores: Tensor) -> None:
        """Captures a pass of other views; it is replayed if it then gives the scores of these."""
        try:
            there = torch.zeros_like(views, device=self.device)
            found = torch.empty_like(scores)

            def work() -> None:
                found.copy_(self._pass(there))

            run = capture(work)
            there.copy_(views)
            run()
            if torch.equal(found, scores):
                self._replays[views.shape] = Replay(there, found, run)
                return
            reason = "its scores are others"
        except torch.OutOfMemoryError:
            reason = "there is not enough memory for it"
        except RuntimeError as error:
            reason = f"its capture failed ({str(error).partition(chr(10))[0]})"
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Goes on without replays, after a line."""
        self._capture = None
        self._replays.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # of the graphs' own memory
        print(f"{self.device}: no CUDA graph for tests: {reason}.", file=sys.stderr)

    def _pass(self, views: Tensor, boxes: Tensor | None = None) -> Tensor:
        clips = normalise(views.to(self.device, non_blocking=True)).to(self.dtype)
        mixed = self.device.type == "cuda" and self.dtype == torch.float32
        with torch.autocast("cuda", torch.bfloat16) if mixed else nullcontext():
            logits = self.net(clips) if boxes is None else self.net(clips, boxes.to(self.device))
        return self.task.scores(logits.float())


def ready(net: VideoNet, device: torch.device) -> nn.Module:
    """The network in the form in which a device scores; on a CPU it is the network itself."""
    if device.type == "cpu":
        return net
    return folded(net).to(device, fast_dtype(device))


def at_once(views: int, batch: int, device: torch.device) -> int:
    """The number of videos of `views` views that share a pass of up to `batch`."""
    return 1 if device.type == "cpu" else max(1, batch // views)


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yields the items in lists of `size`; the last one may be shorter."""
    source = iter(items)
    while some := list(islice(source, size)):
        yield some


def fetched(scored: Iterable[tuple[T, Tensor]]) -> Iterator[tuple[T, Tensor]]:
    """Yields each with its tensor on the CPU, one late: the next has begun before one is read."""
    before: tuple[T, Callable[[], Tensor]] | None = None
    for what, tensor in scored:
        now = what, _leaving(tensor)
        if before is not None:
            yield before[0], before[1]()
        before = now
    if before is not None:
        yield before[0], before[1]()


def _leaving(tensor: Tensor) -> Callable[[], Tensor]:
    """Starts to copy a tensor to the CPU; the result waits for the copy and returns it."""
    if tensor.device.type == "cpu":
        return lambda: tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    end = torch.cuda.Event()
    end.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Tensor:
        end.synchronize()
        return copy

    return wait
