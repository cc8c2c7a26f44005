"""Each clip has one class."""

from __future__ import annotations

from torch import Tensor


def scores(logits: Tensor) -> Tensor:
    """Logits (B, P, classes) -> (B, classes), sum 1: the softmax at each position, averaged."""
    return logits.softmax(2).mean(1)
