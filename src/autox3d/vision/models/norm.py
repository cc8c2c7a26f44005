"""Batch norm with statistics that do not depend on the number of clips per device.

X3D computes them over groups of 8 clips (supplement, A.3). Here the groups are fixed chunks of the
batch ("ghost batch norm", arXiv:1705.08741), so that one process and eight give the same numbers.

    B clips, C channels, T frames, H x W pixels
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autox3d.vision.kernels import backend

BN_CLIPS = 8  # clips that share statistics in training, as in X3D


class BatchNorm(nn.Module):
    """Ghost batch norm in training, batch norm by running statistics in evaluation.

    Parameters and buffers have the names of `nn.BatchNorm3d`; for a batch of one chunk the results
    are equal to it as well.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, *, gamma: float = 1.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.gamma, self.eps = gamma, eps
        self.clips = BN_CLIPS  # set by `network.set_training`
        self.momentum = 0.1
        self.tracked = True  # false: always batch statistics, as in paths of the supernet
        self.weight = nn.Parameter(torch.full((channels,), gamma))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor, then: str = "none", plus: Tensor | None = None) -> Tensor:
        """Computes then(norm of each channel + plus): (B, C, T, H, W) -> the same shape.

        Args:
            then: an activation, a key of `kernels.reference.ACTIVATIONS`
            plus: of the shape of x, or None
        """
        running = (self.running_mean, self.running_var) if self.tracked else None
        if self.tracked and self.training:
            self.num_batches_tracked += 1
        batch = self.training or not self.tracked
        if batch and len(x) > self.clips:
            return backend(x).chunk_norm(
                x, self.weight, self.bias, running, self.momentum, self.clips, self.eps, then, plus
            )
        mean, variance = running or (None, None)
        how = mean, variance, batch, self.momentum, self.eps, then, plus
        return backend(x).batch_norm(x, self.weight, self.bias, *how)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Returns the scale and shift of each channel in evaluation, both (C,)."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale
