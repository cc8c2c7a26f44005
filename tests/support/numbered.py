"""Videos whose every picture carries its number, so that the order and count of frames are exact.

A number n < 256 stands in a picture as eight upright bars of 16 px, the highest bit on the left: a
white bar is 1. It survives every codec at any usual quality, and a blend of two pictures, a grey
one or one of another place is another number.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from autox3d.inference.files import FileVideo
from autox3d.ingest import encode, source
from autox3d.vision.clips.format.decode import IndexedVideo
from support import shards

HEIGHT, WIDTH, BITS = 96, 128, 8
BAR = WIDTH // BITS
FPS = 30  # of clips and of predictions


def picture(number: int) -> np.ndarray:
    """Grey levels, uint8 (96, 128)."""
    bits = [number >> (BITS - 1 - bit) & 1 for bit in range(BITS)]
    return np.tile(np.repeat(np.array(bits, np.uint8) * 219 + 16, BAR), (HEIGHT, 1))


def numbers(pictures: np.ndarray) -> list[int]:
    """Reads the number in each of the pictures, (N, H, W) or (N, H, W, 3); -1 where none is."""
    grey = pictures.mean(-1) if pictures.ndim == 4 else pictures.astype(float)
    height, width = grey.shape[1:]
    bars = grey[:, height // 4 : 3 * height // 4].mean(1).reshape(len(grey), BITS, width // BITS)
    levels = bars[:, :, width // BITS // 4 : -(width // BITS // 4)].mean(2)
    values = (levels > 128) @ (1 << np.arange(BITS)[::-1])
    sure = (np.abs(levels - 128) > 40).all(1)
    return np.where(sure, values, -1).tolist()


def make(path: Path, *words: str, count: int = 60, rate: str = "30") -> Path:
    """Encodes the pictures 0 to `count` - 1 at `rate` a second by ffmpeg's `words`."""
    data = b"".join(picture(number).tobytes() for number in range(count))
    raw = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}", "-r", rate, "-i", "-")
    command = [encode.program(), "-v", "error", "-y", *raw, *words, f"file:{path}"]
    subprocess.run(command, input=data, check=True)
    return path


def by_predict(path: Path) -> list[int]:
    """The numbers that `predict` sees."""
    video = FileVideo(path, FPS)
    return numbers(np.stack([frame for _, frame in video.play(np.arange(video.count))]))


def by_training(path: Path) -> list[int]:
    """The numbers in the clip that training reads."""
    clip = encode.encode(
        path, shards.encoding(short=HEIGHT), path.with_name(f"{path.name}.clip.mp4")
    )
    video = IndexedVideo(clip.data)
    return numbers(video.frames(np.arange(video.count)))


def by_ffmpeg(path: Path) -> list[int]:
    """The numbers that ffmpeg itself shows of the same track at 30 a second."""
    stream = source.probe(path).stream
    out = ("-map", f"0:{stream}", "-vf", f"fps={FPS},scale={WIDTH}:{HEIGHT},format=gray")
    out += ("-fps_mode", "passthrough")
    command = [encode.program(), "-v", "quiet", "-i", f"file:{path}", *out]
    ended = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=False)
    return numbers(np.frombuffer(ended.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH))
