"""Shipped genotypes, as they are and thinned to the size of a test."""

from __future__ import annotations

from autox3d.core.values import ClipSpec
from autox3d.sizing.scaling import thinned
from autox3d.vision.arch.genotype import Genotype
from support import ARCHITECTURES


def read(name: str) -> Genotype:
    return Genotype.load(ARCHITECTURES / f"{name}.yaml")


def tiny(name: str, frames: int = 4, crop: int = 32) -> Genotype:
    clip = ClipSpec(frames=frames, stride=1, crop=crop, short=crop)
    return thinned(read(name), name, clip, width=0.25, depth=0.3)
