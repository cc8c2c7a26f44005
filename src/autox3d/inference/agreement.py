"""Whether an exported network answers as the network itself: judged on videos, not on noise.

V views of a video, T frames, S x S pixels, C classes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from autox3d.core.errors import Refused
from autox3d.inference.fast import plain
from autox3d.inference.network import cropped, merged
from autox3d.inference.stream import windows
from autox3d.ingest.source import BadVideo
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.views import Crops
from autox3d.vision.models.weights import Trained

LEAST = 0.9  # of the videos must keep their best class


class Agreement(NamedTuple):
    """How the answers for some videos compare with the network's."""

    videos: int
    same: int  # videos whose best class is the network's
    difference: float  # of a score, the mean over videos and classes

    def __str__(self) -> str:
        return (
            f"{self.same} of {self.videos} videos keep their best class; "
            f"scores differ by {self.difference:.1e} in the mean"
        )


@torch.no_grad()
def judged(
    run: Callable[[Tensor], Tensor], trained: Trained, videos: Sequence[Path], crops: Crops
) -> Agreement:
    """Scores each video with the network in float32 and with `run`, on the same views.

    A video has at least one clip, and as many as leave no gap; each with all its crops.

    Args:
        run: an exported network: normalised clips (V, 3, T, S, S) -> scores (V, C)

    Raises:
        Refused: a video cannot be used.
    """
    net, clip, same, differences = plain(trained), trained.genotype.input, 0, []
    for video in videos:
        pairs: list[tuple[Tensor, Tensor]] = []
        try:
            for window in windows(video, 1, clip.frames, clip.stride, clip.short, "linspace"):
                views = normalise(cropped(window.frames, crops, clip))
                pairs.append((net(views), run(views)))
        except BadVideo as error:
            raise Refused(f"{video}: {error}. Judge on videos that can be decoded.") from error
        ours, theirs = (merged(trained.task, torch.cat(each)) for each in zip(*pairs, strict=True))
        same += int(ours.argmax() == theirs.argmax())
        differences.append(float((ours - theirs).abs().mean()))
    return Agreement(len(videos), same, sum(differences) / len(differences))
