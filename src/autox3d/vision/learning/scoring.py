"""Scores of every view of every video, and what follows from them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autox3d.vision.clips.normalise import normalise
from autox3d.vision.tasks import classify


@torch.inference_mode()
def scores(net: nn.Module, views: Tensor, batch: int, device: torch.device) -> Tensor:
    """uint8 (V, T, H, W, 3) -> float32 (V, C) softmax scores, at most `batch` views at a time."""
    net.eval()
    found = []
    for piece in views.split(batch):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = net(normalise(piece.to(device, non_blocking=True)))
            found.append(classify.scores(logits).float().cpu())
    return torch.cat(found)
