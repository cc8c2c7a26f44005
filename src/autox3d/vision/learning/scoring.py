"""Scores of clips, and of all videos of a table together over the processes."""

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
    """uint8 (V, T, H, W, 3) -> float32 (V, C), at most `batch` views at a time; on the CPU."""
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
    """(N, C) for each network: its scores of every video of a table, on every rank.

    Args:
        videos: this rank's share of the `count` videos
        gather: a value of each rank -> all of them, on every rank
    """
    mine = []
    for video in videos:
        clips = video.clips
        views = (scores(net, task, clips, 1, device).numpy() for net in nets)
        mine.append((video.row, [task.merge(of_net) for of_net in views]))
    every = dict(row for part in gather(mine) for row in part)
    return [np.stack([every[row][number] for row in range(count)]) for number in range(len(nets))]
