"""Inference from a folder of weights.

    K clips of a video, V views (K clips times crops), T frames, S x S pixels, C classes,
    F features: the input of the last linear layer

Three things make it fast: batch norms are folded into the convolutions, bfloat16 is used where the
device computes with it, and a thread decodes the next clips while the current ones are scored. On a
CPU a program may keep the memory of a pass for the next one, too: `autox3d.runtime.memory`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.core.errors import Refused
from autox3d.core.values import ClipSpec
from autox3d.inference.ahead import ahead
from autox3d.inference.fast import default_device, fast
from autox3d.inference.files import FileVideo
from autox3d.inference.stream import RATE, Window, windows_of
from autox3d.ingest import source
from autox3d.ingest.source import BadVideo
from autox3d.vision.arch.cost import in_words
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.views import Crops, FramesRule, crop_sides, test_box, test_size
from autox3d.vision.models import weights
from autox3d.vision.models.fold import fast_dtype
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks import classify
from autox3d.vision.tasks.task import Task

CLIPS, CROPS = 10, "lcr"  # the papers' 30 views
CPU_BATCH = 6  # views that a CPU scores at once; more do not fit its caches
AHEAD = 2  # clips that are decoded before they are needed


class Moment(NamedTuple):
    """One clip of a video and its scores."""

    begin: float  # s
    end: float  # s
    scores: Tensor  # float32 (C,), merged from its crops
    features: Tensor = torch.empty(0)  # float32 (F,), the mean over its crops, if asked for


class Prediction(NamedTuple):
    """The prediction for one video."""

    path: Path
    classes: list[str]
    moments: list[Moment]  # in order of time
    task: Task = classify.TASK  # the task that the network was trained for
    lost: str = ""  # what is missing from the file, or damaged in it; empty for a whole file

    @property
    def scores(self) -> Tensor:
        """The scores of the video, merged from all its moments, float32 (C,)."""
        return merged(self.task, torch.stack([moment.scores for moment in self.moments]))

    @property
    def features(self) -> Tensor:
        """What the last layer sees of the video, float32 (F,): the mean over all its moments."""
        return torch.stack([moment.features for moment in self.moments]).mean(0)

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The classes with the best scores, best first."""
        return best(self.scores, self.classes, count)


class Network:
    """A trained network on a device.

    Args:
        trained: the result of `autox3d.vision.models.weights.load`
        device: by default a GPU if there is one
        dtype: by default bfloat16 if the device computes with it, else float32
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

    def __repr__(self) -> str:
        words = in_words(self.genotype, len(self.classes))
        return f"Network({words}; {str(self.dtype).removeprefix('torch.')} on {self.device})"

    @property
    def input(self) -> ClipSpec:
        """The clips that the network takes: frames, stride and sizes."""
        return self.genotype.input

    def transform(self, clips: Tensor) -> Tensor:
        """Normalises uint8 RGB (V, T, S, S, 3) -> (V, 3, T, S, S), on the device of the network."""
        return normalise(clips.to(self.device, non_blocking=True)).to(self.dtype)

    @torch.inference_mode()
    def score(self, clips: Tensor) -> Tensor:
        """Scores of views: uint8 RGB (V, T, S, S, 3) -> float32 (V, C) on the CPU."""
        size = len(clips) if self.device.type == "cuda" else CPU_BATCH
        pieces = [self.net(self.transform(piece)) for piece in clips.split(size)]
        return torch.cat(pieces).float().cpu()

    @torch.inference_mode()
    def score_boxes(self, clip: Tensor, boxes: Tensor) -> Tensor:
        """Scores of the boxes in a view: uint8 RGB (T, S, S, 3), (A, 4) -> float32 (A, C)."""
        return self.net(self.transform(clip[None]), boxes[None].to(self.device)).float().cpu()[0]

    def described(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and features of views: uint8 (V, T, S, S, 3) -> (V, C), (V, F), on the CPU.

        The features are what the head's pool (and its hidden layer, if it has one) gives to the
        last linear layer, averaged over the positions of the pool; float32.
        """
        seen: list[Tensor] = []
        last = self.net.get_submodule("net.head.classify")
        hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0].mean(1)))
        try:
            scores = self.score(clips)
        finally:
            hook.remove()
        return scores, torch.cat(seen).float().cpu()

    def predict(self, path: Path | str, clips: int = CLIPS, crops: Crops = CROPS) -> Prediction:
        """Predicts the class of a video file.

        Args:
            clips: the least number of clips along the video; more are used to leave no gaps
            crops: "lcr", three squares along the longer side, or "center"

        Raises:
            BadVideo: the file has nothing that decodes.
        """
        ((_, result),) = self.predict_all([path], clips, crops)
        if isinstance(result, BadVideo):
            raise result
        return result

    def predict_all(
        self,
        paths: Iterable[Path | str],
        clips: int = CLIPS,
        crops: Crops = CROPS,
        features: bool = False,
    ) -> Iterator[tuple[Path, Prediction | BadVideo]]:
        """Yields each video with its prediction, or with the reason why it cannot be decoded.

        Args:
            features: also compute `Prediction.features`

        Raises:
            Refused: the network answers for boxes.
        """
        refuse_boxed(self.task, self.genotype.name)
        moments: list[Moment] = []
        for path, item in ahead(self._windows(map(Path, paths), clips), AHEAD):
            if isinstance(item, Window):
                moments.append(self.moment(item, crops, features))
            else:
                if isinstance(item, str):
                    item = Prediction(path, self.classes, moments, self.task, item)
                yield path, item
                moments = []

    def moment(self, window: Window, crops: Crops = CROPS, features: bool = False) -> Moment:
        """Scores one clip of a video, perhaps with its features."""
        clips, seen = cropped(window.frames, crops, self.input), torch.empty(0)
        if features:
            views, each = self.described(clips)
            seen = each.mean(0)
        else:
            views = self.score(clips)
        return Moment(window.begin, window.end, merged(self.task, views), seen)

    @property
    def rule(self) -> FramesRule:
        """Which frames of a clip it was trained on; see `views.clip_frames`."""
        return self.how.get("params", {}).get("sampling", {}).get("rule", "linspace")

    def _windows(
        self, paths: Iterable[Path], clips: int
    ) -> Iterator[tuple[Path, Window | BadVideo | str]]:
        """Yields the clips of each video, and after the last one what is lost or went wrong."""
        clip, rule = self.input, self.rule
        for path in paths:
            try:
                real = Path(
                    os.path.realpath(path)
                )  # a symbolic link given by the user may point anywhere
                file = source.locate(real.parent, real.name)
                video = FileVideo(file, RATE)
                for window in windows_of(video, clips, clip.frames, clip.stride, clip.short, rule):
                    yield path, window
                end = video.lost()
            except BadVideo as error:
                end = error
            yield path, end


def load(
    folder: Path | str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Network:
    """Loads the network in a folder of weights, ready to `predict`.

    Raises:
        Refused: a file is missing or damaged, or the weights do not belong to the genotype.
    """
    return Network(weights.load(Path(folder)), device, dtype)


def refuse_boxed(task: Task, name: str) -> None:
    """Checks that a network answers for whole clips.

    Raises:
        Refused: it answers for boxes.
    """
    if task.boxed:
        raise Refused(
            f"{name}: answers for boxes of a video. Give them: `autox3d predict --boxes FILE`."
        )


def cropped(frames: Tensor, crops: Crops, clip: ClipSpec) -> Tensor:
    """The test crops of frames: uint8 (T, H, W, 3), resized -> (crops, T, S, S, 3)."""
    size = test_size(crops, clip.short, clip.crop)
    height, width = frames.shape[1:3]
    boxes = [test_box(height, width, side, size) for side in crop_sides(crops)]
    return torch.stack([frames[:, b.top : b.top + size, b.left : b.left + size] for b in boxes])


def merged(task: Task, views: Tensor) -> Tensor:
    """Merges the scores of the views of a video as its task does: (V, C) -> (C,)."""
    return torch.from_numpy(task.merge(views.numpy()))


def best(scores: Tensor, classes: list[str], count: int) -> list[tuple[str, float]]:
    """The classes with the highest of (C,) scores, best first; of equals the lower number."""
    order = torch.argsort(scores, descending=True, stable=True)[:count].tolist()
    return [(classes[number], float(scores[number])) for number in order]
