"""The modules of a path without weights, to be called with those that are gathered for it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import nn

from autox3d.vision.arch.blocks import Block, BlockStyle
from autox3d.vision.models.attention import attention
from autox3d.vision.models.blocks import block
from autox3d.vision.models.fusion import fusing
from autox3d.vision.models.network import set_training
from autox3d.vision.models.norm import BatchNorm


def wired(row: Block) -> Block:
    """Normalises the sizes in a block's row, so that only its wiring distinguishes it."""
    return replace(
        row,
        group=0,
        kernel=(1, 1),
        channels_in=8,
        inner=8 if row.inner == row.channels_in else 16,
        channels=8 if row.channels_in == row.channels else 16,
        gate=8 if row.gate else 0,
    )


@cache
def wiring(
    row: Block, style: BlockStyle, bn_clips: int, drop_connect: float
) -> tuple[nn.Module, nn.Module]:
    """Makes a block and its attention unit on the meta device, to be called with any weights.

    Args:
        row: a result of `wired`, so that the cache stays small
    """
    with torch.inference_mode(False), torch.device("meta"):  # they are kept for training, too
        pair = block(row, style), attention(row.attention, row.channels, 1.0)
    for module in pair:
        set_training(module, bn_clips=bn_clips, drop_connect=drop_connect)
        for layer in module.modules():
            if isinstance(layer, BatchNorm):
                layer.tracked = False
    return pair


@cache
def fusion_wiring(kind: str, alpha: int, bn_clips: int) -> nn.Module:
    """Makes a fusion on the meta device, to be called with any weights."""
    with torch.inference_mode(False), torch.device("meta"):
        made = fusing(kind, 8, 8, alpha)
    set_training(made, bn_clips=bn_clips)
    for layer in made.modules():
        if isinstance(layer, BatchNorm):
            layer.tracked = False
    return made
