"""RoIAlign (arXiv:1703.06870) as two matrix products, for boxes in a map of features.

    B clips, R boxes of each, C channels, H x W cells of the map, G x G cells of a box

A bin of a box is the mean of bilinear samples on a regular grid in it, ceil(side / G) along each
axis, as in Detectron2 and torchvision with `aligned` and `sampling_ratio` 0: cell i of the map has
its centre at i + 1/2. Weights along y and along x are independent, so that the samples of all bins
along an axis are one matrix, (G, H) or (G, W). Nothing has a size that depends on the boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autox3d.vision.arch.cost import GRID


def roi_align(x: Tensor, boxes: Tensor, grid: int = GRID) -> Tensor:
    """Features of boxes: (B, C, H, W) -> (B, R, C, grid, grid).

    Args:
        boxes: (B, R, 4), x1, y1, x2, y2 as shares of the map's width and height, no wider or
            higher than the map. A box without area has features of 0.
    """
    height, width = x.shape[2:]
    left, top, right, bottom = boxes.float().unbind(2)
    rows = _samples(top * height, bottom * height, height, grid).to(x.dtype)
    columns = _samples(left * width, right * width, width, grid).to(x.dtype)
    of_rows = torch.einsum("brgh,bchw->brcgw", rows, x)
    return torch.einsum("brcgw,brkw->brcgk", of_rows, columns)


def _samples(low: Tensor, high: Tensor, cells: int, grid: int) -> Tensor:
    """The weight of each cell in each bin along an axis: (B, R), in cells -> (B, R, grid, cells).

    A sample more than a cell outside of the map counts as 0, one nearer as the cell at the edge.
    """
    most = -(-cells // grid)
    number, bins = (torch.arange(n, device=low.device) for n in (most, grid))
    size = ((high - low) / grid)[..., None, None]
    count = size.ceil().clamp(max=most)  # samples of a bin, (B, R, 1, 1)
    at = low[..., None, None] - 0.5 + size * (bins[:, None] + (number + 0.5) / count.clamp(min=1))
    used = (number < count) & (at >= -1) & (at <= cells)  # (B, R, grid, most)
    near = at.clamp(0, cells - 1)[..., None] - torch.arange(cells, device=low.device)
    weight = (1 - near.abs()).clamp(min=0) * used[..., None]
    return weight.sum(3) / count.clamp(min=1)
