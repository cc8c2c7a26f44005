r"""Stage `explain`: a few clips, lit where and when the network saw what it answered.

python -m autox3d.stages.explain --weights data/weights/s --clips data/clips.parquet \
    --scores data/scores/s.parquet --out results/explain/s.json
"""

from __future__ import annotations

import base64
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from autox3d.core import atomic, settings, tables
from autox3d.core.errors import Refused
from autox3d.explaining.gradcam import grad_cam
from autox3d.explaining.sheet import jpeg, sheet, shown
from autox3d.runtime.program import paths, run
from autox3d.stages.evaluate import video_scores
from autox3d.vision.clips.loader import VideoViews, test_frames
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import weights
from autox3d.vision.models.weights import Trained

CENTRE = Fraction(1, 2)  # the clip in the middle of the video


class Answers(NamedTuple):
    """What the network said of the videos of a split; N videos, C classes."""

    keys: list[str]
    labels: np.ndarray  # (N,), -1: none
    predicted: np.ndarray  # (N,)
    sureness: np.ndarray  # (N,), score of the predicted class

    @property
    def right(self) -> np.ndarray:
        """(N,), true also where there is no label to be wrong about."""
        return (self.labels < 0) | (self.labels == self.predicted)

    def surest(self, of: np.ndarray) -> int | None:
        """The video with the highest score, of those marked; the first of equals."""
        return int(np.where(of, self.sureness, -1.0).argmax()) if of.any() else None


class Pair(NamedTuple):
    """Two classes, and how often one is taken for the other."""

    actual: int
    predicted: int
    videos: int


def main() -> None:
    files = paths(__doc__, "weights", "clips", "scores", "out")
    params = settings.load("explain", settings.Explain)
    tests = settings.load("evaluate", settings.Evaluate)
    trained = weights.load(files.weights)
    clips = Clips.load(files.clips, split=tests.split)
    table = tables.read_table(files.scores)
    if set(table["key"]) != {key.decode() for key in clips.keys}:
        raise Refused(
            f"{files.scores}: of other videos than {files.clips} has. Run `evaluate` again."
        )
    said = answers(*video_scores(table, "lcr", max(tests.clips), tests), sorted(set(table["key"])))

    def seen(video: int | None) -> list[dict[str, Any]]:
        return [] if video is None else [explain(trained, clips, tests, said, video)]

    found = {
        "net": trained.genotype.name,
        "split": tests.split,
        "right": [one for video in typical(said, params.videos) for one in seen(video)],
        "confused": [
            {
                "actual": trained.classes[pair.actual],
                "predicted": trained.classes[pair.predicted],
                "videos": pair.videos,
                "of": int((said.labels == pair.actual).sum()),
                "clips": [one for video in example(said, pair) for one in seen(video)],
            }
            for pair in confused(said, params.pairs)
        ],
    }
    atomic.write_json(files.out, found)


def answers(scores: np.ndarray, labels: np.ndarray, keys: list[str]) -> Answers:
    """From (N, C) scores."""
    return Answers(keys, labels, scores.argmax(1), scores.max(1))


def typical(said: Answers, count: int) -> list[int]:
    """The surest right answer of each class; of many classes, some from first to last."""
    good = [said.surest(said.right & (said.predicted == c)) for c in np.unique(said.predicted)]
    found = [video for video in good if video is not None]
    picked = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[i] for i in picked]


def confused(said: Answers, count: int) -> list[Pair]:
    """The pairs with most videos, largest first."""
    wrong = ~said.right
    both = np.stack([said.labels[wrong], said.predicted[wrong]], 1)
    pairs, videos = np.unique(both, axis=0, return_counts=True)
    order = np.argsort(-videos, kind="stable")[:count]
    return [Pair(int(pairs[i, 0]), int(pairs[i, 1]), int(videos[i])) for i in order]


def example(said: Answers, pair: Pair) -> list[int | None]:
    """The surest mistake, and the surest right answer of the class that it was taken for."""
    taken = said.predicted == pair.predicted
    return [
        said.surest(taken & (said.labels == pair.actual)),
        said.surest(taken & (said.labels == pair.predicted)),
    ]


def explain(
    trained: Trained, clips: Clips, tests: settings.Evaluate, said: Answers, video: int
) -> dict[str, Any]:
    """One video: its centre clip, lit for the answer and, where that is wrong, for the truth."""
    row = int(np.flatnonzero(clips.keys == said.keys[video].encode())[0])
    clip = centre_clip(trained, clips, tests, row)
    predicted, actual = int(said.predicted[video]), int(said.labels[video])
    asked = [predicted] if said.right[video] else [predicted, actual]
    maps = evidence(trained, clip, asked)
    by_frame = maps[0].sum((1, 2))
    share = by_frame / by_frame.sum().clamp_min(torch.finfo(by_frame.dtype).tiny)
    return {
        "key": said.keys[video],
        "actual": trained.classes[actual] if actual >= 0 else None,
        "predicted": trained.classes[predicted],
        "score": float(said.sureness[video]),
        "lit": [trained.classes[c] for c in asked],
        "by_frame": [round(part, 6) for part in share.tolist()],
        "shown": shown(len(clip)).tolist(),
        "picture": base64.b64encode(jpeg(sheet(clip, list(maps)))).decode(),
    }


def centre_clip(trained: Trained, clips: Clips, tests: settings.Evaluate, row: int) -> Tensor:
    """uint8 (T, S, S, 3)."""
    clip = trained.genotype.input
    times, frames = test_frames(
        clips.video(row), [CENTRE], clip.frames, clip.stride, clip.short, tests.sampling
    )
    views = VideoViews(row, -1, "center", clip.crop, (CENTRE,), times, frames)
    return views.clips[0]


def evidence(trained: Trained, clip: Tensor, classes: list[int]) -> Tensor:
    """(len(classes), T, H, W): what speaks for each class behind the network's last group."""
    net = trained.net
    views = normalise(clip.expand(len(classes), *clip.shape))
    return grad_cam(net.attention[-1], lambda x: net(x).mean(1), views, torch.tensor(classes))


if __name__ == "__main__":
    run(main)
