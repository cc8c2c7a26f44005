"""Scores of clips, and of all videos of a table, computed by all processes together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autox3d.vision.clips.normalise import normalise
from autox3d.vision.clips.videos import VideoViews
from autox3d.vision.tasks.task import Task


@torch.inference_mode()
def scores(net: nn.Module, task: Task, views: Tensor, batch: int, device: torch.device) -> Tensor:
    """Scores views, `batch` at a time: uint8 (V, T, H, W, 3) -> float32 (V, C) on the CPU."""
    net.eval()
    parts = []
    for piece in views.split(batch):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = net(normalise(piece.to(device, non_blocking=True)))
            parts.append(task.scores(logits).float().cpu())
    return torch.cat(parts)


def scores_of(
    nets: Sequence[nn.Module],
    task: Task,
    videos: Iterable[VideoViews],
    count: int,
    device: torch.device,
    gather: Callable[[Any], list[Any]],
) -> list[np.ndarray]:
    """Scores every video of a table with each network; every rank returns all scores.

    Args:
        videos: this rank's share of the `count` videos
        gather: returns the list of all ranks' values, on every rank

    Returns:
        (N, C) for each network.
    """
    mine = []
    for video in videos:
        clips = video.clips
        views = (scores(net, task, clips, 1, device).numpy() for net in nets)
        mine.append((video.row, [task.merge(of_net) for of_net in views]))
    every = dict(row for part in gather(mine) for row in part)
    return [np.stack([every[row][number] for row in range(count)]) for number in range(len(nets))]
