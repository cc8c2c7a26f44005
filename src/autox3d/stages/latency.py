r"""Stage `latency`: seconds that a trained network takes for the views of one video, made up.

python -m autox3d.stages.latency --weights data/weights/s --latency results/latency/s.json
"""

from __future__ import annotations

import time

import torch

from autox3d.core import settings
from autox3d.core.records import Latency
from autox3d.inference.latency import measure
from autox3d.inference.network import load
from autox3d.runtime import provenance
from autox3d.runtime.program import arguments, run


def main() -> None:
    """On the device and in the type that prediction takes."""
    files = arguments(__doc__, "weights", "latency")
    params = settings.load().latency
    began = time.monotonic()
    network = load(files.weights)
    clip = network.input
    shape = (params.views, clip.frames, clip.short, clip.short, 3)
    clips = network.transform(torch.randint(0, 256, shape, dtype=torch.uint8))
    with torch.inference_mode():
        found = measure(network.net, clips, params.batch, params.repeats, params.warmup)
    Latency(
        made=provenance.measured(time.monotonic() - began, network.device, 1),
        net=network.genotype.name,
        views=params.views,
        frames=clip.frames,
        side=clip.short,
        dtype=str(network.dtype).removeprefix("torch."),
        repeats=params.repeats,
        batched=found.batched,
        one_by_one=found.one_by_one,
        peak_mb=round(found.peak_mb, 1),
    ).write(files.latency)


if __name__ == "__main__":
    run(main)
