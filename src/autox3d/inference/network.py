"""A folder of weights as a classifier that is ready to be asked.

    K clips of a video, V views: K clips by its crops, T frames, S x S pixels, C classes

Inference is fast by three things: batch norm is folded into the convolutions, bfloat16 is taken
where the device computes with it, and a thread decodes the next clips while these are scored.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.core.values import ClipSpec
from autox3d.inference.ahead import ahead
from autox3d.inference.fast import default_device, fast, fast_dtype
from autox3d.inference.stream import Window, windows
from autox3d.ingest import source
from autox3d.ingest.source import BadVideo
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.views import Crops, crop_sides, test_box, test_size
from autox3d.vision.models import weights
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks import classify
from autox3d.vision.tasks.task import Task

CLIPS, CROPS = 10, "lcr"  # the papers' 30 views
CPU_BATCH = 6  # views that a CPU takes at once: more leave its caches
AHEAD = 2  # clips decoded before they are asked for


class Moment(NamedTuple):
    """One clip and what the network says of it."""

    begin: float  # s
    end: float  # s
    scores: Tensor  # float32 (C,), what its crops together say


class Prediction(NamedTuple):
    """What the network says of one video."""

    path: Path
    classes: list[str]
    moments: list[Moment]  # in order of time
    task: Task = classify.TASK  # what the network was trained for

    @property
    def scores(self) -> Tensor:
        """float32 (C,): what all moments together say."""
        return merged(self.task, torch.stack([moment.scores for moment in self.moments]))

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The classes with the best scores, best first."""
        return best(self.scores, self.classes, count)


class Network:
    """A trained network on a device.

    Args:
        trained: what `autox3d.vision.models.weights.load` gives
        device: a GPU if there is one, by default
        dtype: bfloat16 where the device computes with it, by default; else float32
    """

    def __init__(
        self,
        trained: Trained,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.device = default_device(device)
        self.dtype = dtype or fast_dtype(self.device)
        self.net, self.task = fast(trained, self.device, self.dtype), trained.task
        self.genotype, self.how, self.metrics = trained.genotype, trained.how, trained.metrics
        self.classes = trained.classes

    @property
    def input(self) -> ClipSpec:
        """Sizes of a clip."""
        return self.genotype.input

    def transform(self, clips: Tensor) -> Tensor:
        """uint8 RGB (V, T, S, S, 3) -> what the network takes: (V, 3, T, S, S), on its device."""
        return normalise(clips.to(self.device, non_blocking=True)).to(self.dtype)

    @torch.inference_mode()
    def score(self, clips: Tensor) -> Tensor:
        """uint8 RGB (V, T, S, S, 3) -> float32 (V, C), sum 1, on the CPU."""
        size = len(clips) if self.device.type == "cuda" else CPU_BATCH
        pieces = [self.net(self.transform(piece)) for piece in clips.split(size)]
        return torch.cat(pieces).float().cpu()

    def predict(self, path: Path | str, clips: int = CLIPS, crops: Crops = CROPS) -> Prediction:
        """What a video file shows.

        Args:
            clips: at least so many along its time; more where they would leave gaps
            crops: "lcr", three squares along the longer side, or "center"

        Raises:
            BadVideo: nothing to decode in it.
        """
        ((_, found),) = self.predict_all([path], clips, crops)
        if isinstance(found, BadVideo):
            raise found
        return found

    def predict_all(
        self, paths: Iterable[Path | str], clips: int = CLIPS, crops: Crops = CROPS
    ) -> Iterator[tuple[Path, Prediction | BadVideo]]:
        """Each video in turn, with what is wrong with it where it cannot be decoded."""
        moments: list[Moment] = []
        for path, found in ahead(self._windows(map(Path, paths), clips), AHEAD):
            if isinstance(found, Window):
                views = self.score(cropped(found.frames, crops, self.input))
                scores = merged(self.task, views)
                moments.append(Moment(found.begin, found.end, scores))
            else:
                yield path, found or Prediction(path, self.classes, moments, self.task)
                moments = []

    def _windows(
        self, paths: Iterable[Path], clips: int
    ) -> Iterator[tuple[Path, Window | BadVideo | None]]:
        """The clips of one video after the other; after its last, None or what is wrong."""
        clip, wrong = self.input, None
        rule = self.how.get("params", {}).get("sampling", {}).get("rule", "linspace")
        for path in paths:
            try:
                real = Path(os.path.realpath(path))  # a link that was named may lead anywhere
                file = source.locate(real.parent, real.name)
                for window in windows(file, clips, clip.frames, clip.stride, clip.short, rule):
                    yield path, window
                wrong = None
            except BadVideo as error:
                wrong = error
            yield path, wrong


def load(
    folder: Path | str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Network:
    """The network of a folder of weights, ready to `predict`.

    Raises:
        Refused: a file is missing or garbled, or the weights are not those of the genotype.
    """
    return Network(weights.load(Path(folder)), device, dtype)


def cropped(frames: Tensor, crops: Crops, clip: ClipSpec) -> Tensor:
    """uint8 (T, H, W, 3), shorter side as in tests -> (crops, T, S, S, 3)."""
    size = test_size(crops, clip.short, clip.crop)
    height, width = frames.shape[1:3]
    boxes = [test_box(height, width, side, size) for side in crop_sides(crops)]
    return torch.stack([frames[:, b.top : b.top + size, b.left : b.left + size] for b in boxes])


def merged(task: Task, views: Tensor) -> Tensor:
    """Scores of views (V, C) -> (C,), as the task merges the views of a video."""
    return torch.from_numpy(task.merge(views.numpy()))


def best(scores: Tensor, classes: list[str], count: int) -> list[tuple[str, float]]:
    """(C,) -> classes and scores, best first; of equal scores the lower number first."""
    order = torch.argsort(scores, descending=True, stable=True)[:count].tolist()
    return [(classes[number], float(scores[number])) for number in order]
