"""Measures in seconds how fast this machine is, for the table of a device.

X3D-S at 13 x 160 x 160 is trained and evaluated on the device, and one generated video of 480 px
is transcoded and cut into training clips on one core. Generated pictures are easy to decode, and
the files of a data set may be smaller or larger: edit the file where you have better figures.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from autox3d.core.device_table import Rates
from autox3d.core.settings import Params
from autox3d.core.values import Encoding, Sampling
from autox3d.ingest import encode
from autox3d.planning.plan import BACKWARD
from autox3d.runtime import provenance
from autox3d.runtime.distributed import World
from autox3d.runtime.timing import processor_time, sustained, timed
from autox3d.training.loop import Schedule, State, train_steps
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.format.decode import IndexedVideo
from autox3d.vision.clips.loader import Batch, train_clips
from autox3d.vision.learning.schedule import sgd
from autox3d.vision.learning.scoring import Scorer
from autox3d.vision.models.network import VideoNet, set_training
from autox3d.vision.tasks.classify import TASK

NETWORK = Path("architectures/x3d_s.yaml")
CLASSES, BATCH, WARMUP = 400, 64, 2
CPU = torch.device("cpu")
ENOUGH = 5.0  # s of measuring for each rate, about
BLOCK = 64_000_000  # bytes, for the disk
VIDEO = "mandelbrot=s=640x480:r=30"  # a test source of ffmpeg, used for 10 s; taller than a clip


def measure(params: Params, genotype: Genotype | None = None, enough: float = ENOUGH) -> Rates:
    """The rates of the GPU of this machine, or of its CPU, and of one of its cores.

    Args:
        genotype: the network to measure with; X3D-S by default
        enough: seconds of measuring for each rate, about
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    genotype = genotype or Genotype.load(NETWORK)
    recipe = next(iter(params.train.values()))
    train, forward = _network(genotype, device, recipe.bn_clips, enough)
    transcoded, clips, megabytes = _video(genotype, params.transcode, recipe.sampling, enough)
    return Rates(
        device=provenance.device_name(device),
        measured=f"{genotype.name}, chunks of {recipe.bn_clips}, and a generated video",
        train=_rounded(train),
        forward=_rounded(forward),
        transcode=_rounded(transcoded),
        clips=_rounded(clips),
        megabytes=_rounded(megabytes),
        cores=len(os.sched_getaffinity(0)),
        disk=_rounded(_disk()),
    )


def _network(
    genotype: Genotype, device: torch.device, chunk: int, enough: float
) -> tuple[float, float]:
    """1e9 multiply-adds a second in training steps, and in forward passes alone."""
    clip, gmacs = genotype.input, cost(genotype, CLASSES).gmacs
    batch = BATCH if device.type == "cuda" else chunk
    shape = (batch, clip.frames, clip.crop, clip.crop, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    sizes = [len(part) for part in torch.arange(batch).split(chunk)]
    rows, numbers = torch.arange(batch), range(len(sizes))
    one = Batch(pixels, rows, rows, numbers, sizes, [()] * batch)
    net = VideoNet(genotype, CLASSES).to(device)
    set_training(net, bn_clips=chunk, dropout=0.5)
    schedule = Schedule(0, 1, 10**6, 0, 0.01, batch, chunk)

    def same(_epoch: int, _step: int) -> Iterable[Batch]:
        while True:
            yield one

    state, world = State(net, sgd(net, 0.9, 5e-5)), World(0, 1, device)
    steps = train_steps(state, TASK, schedule, same, world)
    train = batch * gmacs * (1 + BACKWARD) / sustained(lambda: next(steps), enough, device, WARMUP)
    scorer = Scorer(net, TASK, device, batch)
    forward = batch * gmacs / sustained(lambda: scorer(pixels).cpu(), enough, device, WARMUP)
    return train, forward


def _video(
    genotype: Genotype, encoding: Encoding, sampling: Sampling, enough: float
) -> tuple[float, float, float]:
    """What one core does: s of video a second, training clips a second; MB for 1 s of clip."""
    with tempfile.TemporaryDirectory() as folder:
        generated, scratch = Path(folder) / "generated.mp4", Path(folder) / "scratch.mp4"
        source = [encode.program(), "-v", "error", "-f", "lavfi", "-i", VIDEO, "-t", "10"]
        subprocess.run([*source, "-pix_fmt", "yuv420p", str(generated)], check=True)
        began = processor_time()
        clip = encode.encode(generated, encoding, scratch)
        transcode = processor_time() - began
    length = clip.frames / encoding.fps
    video, rng = IndexedVideo(clip.data), np.random.default_rng(0)

    def cut() -> None:
        train_clips(video, sampling, genotype.input, [rng])

    return (
        length / transcode,
        1 / sustained(cut, enough, CPU, WARMUP, processor_time),
        len(clip.data) / length / 1e6,
    )


def _disk() -> float:
    """MB that the disk of the current folder writes, or reads back, in a second, the slower."""
    with tempfile.NamedTemporaryFile(dir=Path()) as file:

        def write() -> None:
            file.seek(0)
            file.write(os.urandom(BLOCK))
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        def read() -> None:
            file.seek(0)
            file.read()

        return BLOCK / 1e6 / max(timed(write, CPU), timed(read, CPU))


def _rounded(value: float) -> float:
    """The value rounded to three significant digits."""
    return float(f"{value:.3g}")
