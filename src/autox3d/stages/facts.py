"""The parameters of a tracked training by which networks are compared."""

from __future__ import annotations

from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype


def facts(genotype: Genotype, classes: int) -> dict[str, object]:
    """What networks are compared by, besides their accuracy."""
    clip, found = genotype.input, cost(genotype, classes)
    return {
        "network": genotype.name,
        "gmacs": found.gmacs,
        "parameters": found.params,
        "frames": clip.frames,
        "stride": clip.stride,
        "crop": clip.crop,
    }
