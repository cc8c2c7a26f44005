"""What a training is going to do, told before its first step.

Measured with x3d_s at 48 to 160 px and widths of 0.33 to 1, in chunks of 8, on a CPU: what a
process has at its peak, less 0.4 GB for its libraries, is 2.8 to 3.7 times the outputs of all
convolutions (batch norms and non-linearities keep theirs, too). On a GPU bfloat16 halves it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from autox3d.core.settings import Train
from autox3d.runtime import provenance
from autox3d.runtime.distributed import World
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.order import epoch_shape
from autox3d.vision.clips.store import Clips

FEW_STEPS = 5  # of an epoch: its curve says little, and batch-norm statistics follow slowly
FEW_IN_ALL = 100  # steps: nothing is learned from scratch with fewer
PROCESS = 0.4e9  # bytes: Python, torch and its libraries
FACTOR = 3.0  # on the bytes of the activations that `Cost.activations` counts
FLOAT_BYTES = 4


def announce(genotype: Genotype, clips: Clips, recipe: Train, world: World) -> None:
    """Rank 0 prints the lines of `announced` on stderr."""
    if world.rank == 0:
        for line in announced(genotype, clips, recipe, world):
            print(line, file=sys.stderr, flush=True)


def announced(genotype: Genotype, clips: Clips, recipe: Train, world: World) -> Iterator[str]:
    """A line about network, device, steps and memory; and a warning where the steps are few."""
    count, classes = len(clips), len(clips.classes)
    steps, batch = epoch_shape(count, recipe.batch)
    device = f"{world.size} x " * (world.size > 1) + provenance.device_name(world.device)
    memory = training_bytes(genotype, classes, min(batch, recipe.bn_clips))
    yield (
        f"{genotype.name} on {device}: {count} clips of {classes} classes, {recipe.epochs} epochs "
        f"of {steps} step{'s' * (steps != 1)} of {batch} clips; about {memory / 1e9:.1f} GB"
    )
    if steps < FEW_STEPS and recipe.batch > recipe.bn_clips:
        smaller = max(recipe.bn_clips, count // FEW_STEPS // recipe.bn_clips * recipe.bn_clips)
        yield (
            f"warning: an epoch has only {steps} step{'s' * (steps != 1)}, {count} clips in "
            f"batches of {recipe.batch}. With a batch of {smaller} it would have "
            f"{max(1, count // smaller)}."
        )
    if recipe.epochs * steps < FEW_IN_ALL:
        yield (
            f"warning: the training has only {recipe.epochs * steps} steps in all. Raise "
            f"'train.{genotype.name}.epochs', unless this is a trial."
        )


def compared_by(genotype: Genotype, classes: int) -> dict[str, object]:
    """What MLflow compares networks by, besides their accuracy."""
    clip, found = genotype.input, cost(genotype, classes)
    return {
        "network": genotype.name,
        "gmacs": found.gmacs,
        "parameters": found.params,
        "frames": clip.frames,
        "stride": clip.stride,
        "crop": clip.crop,
    }


def training_bytes(genotype: Genotype, classes: int, clips: int) -> float:
    """The bytes that a process needs for a training step, which holds one chunk at once.

    Args:
        clips: of a chunk
    """
    activations = cost(genotype, classes).activations
    return PROCESS + FACTOR * FLOAT_BYTES * activations * clips
