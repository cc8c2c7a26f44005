"""Drop-connect by stage: later blocks are skipped more often, as in X3D's code."""

from __future__ import annotations

from autox3d.vision.arch.genotype import stages_of
from autox3d.vision.models.blocks import DropConnect
from autox3d.vision.models.network import VideoNet


def by_stage(rate: float, stages: int) -> list[float]:
    """The drop-connect rate of each stage: of four, 2, 3, 4 and 5 fifths of `rate` (X3D's code)."""
    return [rate * (number + 2) / (stages + 1) for number in range(stages)]


def spread(net: VideoNet, rate: float) -> None:
    """Sets the rate at which a clip skips a residual branch: `rate` in the last stage.

    Args:
        net: modified in place
    """
    by_group: list[float] = []
    for stream in net.genotype.streams:
        stages = stages_of(stream.groups)
        rates = by_stage(rate, len(stages))
        by_group += [of for of, groups in zip(rates, stages, strict=True) for _ in groups]
    for row, block in zip(net.genotype.blocks(), net.blocks, strict=True):
        for layer in block.modules():
            if isinstance(layer, DropConnect):
                layer.rate = by_group[row.group]
