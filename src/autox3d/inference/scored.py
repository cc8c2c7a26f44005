"""A network whose output is scores, for those who want to know no more than the answer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from autox3d.vision.tasks import classify


class Scored(nn.Module):
    """A network and what its task makes of its logits.

    Args:
        net: normalised clips (B, 3, T, H, W) -> logits (B, P, classes)
        scores: logits -> scores (B, classes)
    """

    def __init__(
        self, net: nn.Module, scores: Callable[[Tensor], Tensor] = classify.scores
    ) -> None:
        super().__init__()
        self.net, self.scores = net, scores

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised clips (B, 3, T, H, W) -> scores (B, classes)."""
        return self.scores(self.net(clips))
