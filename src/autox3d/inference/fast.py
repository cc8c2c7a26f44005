"""The fastest form of a trained network on a device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autox3d.vision.models.fold import fast_dtype, folded
from autox3d.vision.models.weights import Trained
from autox3d.vision.tasks.task import Task


class Scored(nn.Module):
    """A network whose output is the scores of its task instead of logits."""

    def __init__(self, net: nn.Module, task: Task) -> None:
        super().__init__()
        self.net, self.scores = net, task.scores

    def forward(self, clips: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Normalised clips (B, 3, T, H, W) -> scores (B, classes), or (B, R, classes) of boxes."""
        return self.scores(self.net(clips) if boxes is None else self.net(clips, boxes))


def plain(trained: Trained) -> Scored:
    """The network as it was trained, with scores as output."""
    return Scored(trained.net, trained.task)


def fast(trained: Trained, device: torch.device, dtype: torch.dtype | None = None) -> Scored:
    """The network without batch norms, on a device, in the dtype that is fastest there."""
    net = Scored(folded(trained.net), trained.task)
    return net.to(device, dtype or fast_dtype(device))


def default_device(name: torch.device | str | None = None) -> torch.device:
    """The named device; without a name a GPU if there is one, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
