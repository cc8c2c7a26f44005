r"""Stage `latency`: times a trained network on the views of one video, on synthetic input.

python -m autox3d.stages.latency --weights data/weights/s --latency results/latency/s.json
"""

from __future__ import annotations

import time
from dataclasses import asdict

import torch

from autox3d.core import settings
from autox3d.core.records import Latency
from autox3d.inference.fast import default_device, fast
from autox3d.inference.latency import measure
from autox3d.runtime import provenance, tracking
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.program import arguments, run
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.models import weights
from autox3d.vision.models.fold import fast_dtype


def main() -> None:
    """Uses the setting `latency`; measures on the device and in the dtype of prediction."""
    files = arguments(__doc__, "weights", "latency")
    params = settings.load().latency
    began, start, trained = tracking.now(), time.monotonic(), weights.load(files.weights)
    device = default_device()
    dtype, spec = fast_dtype(device), trained.genotype.input
    shape = (params.views, spec.frames, spec.short, spec.short, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
    with torch.inference_mode():
        net, clips = fast(trained, device, dtype), normalise(pixels).to(dtype)
        times = measure(net, clips, params.batch, params.repeats, params.warmup)
    result = Latency(
        made=provenance.measured(time.monotonic() - start, device, 1),
        net=trained.genotype.name,
        views=params.views,
        frames=spec.frames,
        side=spec.short,
        dtype=str(dtype).removeprefix("torch."),
        repeats=params.repeats,
        batched=times.batched,
        one_by_one=times.one_by_one,
        peak_mb=round(times.peak_mb, 1),
    )
    result.write(files.latency)
    name, data = trained.genotype.name, {"weights": fingerprint(w=files.weights)}
    # Only now: what sends the run would take a core from what is timed.
    with tracking.run("latency", name, asdict(params), data, began=began) as mirror:
        mirror.log(0, {"latency.seconds": times.batched.median, "latency.peak_mb": times.peak_mb})
        mirror.artifact(files.latency)


if __name__ == "__main__":
    run(main)
