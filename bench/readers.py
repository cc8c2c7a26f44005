"""Ways to read frames of a video, each (path, indices) -> uint8 (T, H, W, 3), on one thread.

A peer that is not installed, or does not import, is a line of text in place of a function.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from autox3d.video.decode import IndexedVideo

Reader = Callable[[Path, np.ndarray], np.ndarray]


def ours(path: Path, indices: np.ndarray) -> np.ndarray:
    return IndexedVideo(path.read_bytes()).frames(indices)


def pyav(path: Path, indices: np.ndarray) -> np.ndarray:
    """Decodes and converts every frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    return np.stack([frames[index] for index in indices])


def slowfast(path: Path, indices: np.ndarray) -> np.ndarray:
    """Seeks to the key frame before, decodes up to the last frame, converts those it wants."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        assert stream.time_base is not None
        tick = 1 / (30 * stream.time_base)
        wanted = {round(int(index) * tick): None for index in indices}
        found: dict[int, np.ndarray] = {}
        container.seek(min(wanted), stream=stream)
        for frame in container.decode(stream):
            if frame.pts in wanted:
                found[frame.pts] = frame.to_ndarray(format="rgb24")
            if len(found) == len(wanted):
                break
    return np.stack([found[round(int(index) * tick)] for index in indices])


def peers() -> dict[str, Reader | str]:
    """All readers by name, ours first."""
    found: dict[str, Reader | str] = {"ours": ours, "PyAV, everything": pyav}
    found["SlowFast's way"] = slowfast
    for name, make in (("decord", _decord), ("torchcodec", _torchcodec), ("OpenCV", _opencv)):
        try:
            found[name] = make()
        except (ImportError, OSError, RuntimeError) as error:
            found[name] = f"skipped: {str(error).strip().splitlines()[0]}"
    return found


def _decord() -> Reader:
    import decord  # pyright: ignore[reportMissingImports]

    def read(path: Path, indices: np.ndarray) -> np.ndarray:
        return decord.VideoReader(str(path), num_threads=1).get_batch(indices.tolist()).asnumpy()

    return read


def _torchcodec() -> Reader:
    from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

    def read(path: Path, indices: np.ndarray) -> np.ndarray:
        layout = {"dimension_order": "NHWC", "num_ffmpeg_threads": 1, "seek_mode": "exact"}
        return VideoDecoder(str(path), **layout).get_frames_at(indices.tolist()).data.numpy()

    return read


def _opencv() -> Reader:
    import cv2  # pyright: ignore[reportMissingImports]

    cv2.setNumThreads(1)

    def read(path: Path, indices: np.ndarray) -> np.ndarray:
        """Seeks once, grabs what lies between."""
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        video.set(cv2.CAP_PROP_POS_FRAMES, int(indices[0]))
        frames = []
        for number in range(int(indices[0]), int(indices[-1]) + 1):
            video.grab()
            if number in indices:
                frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
        video.release()
        return np.stack(frames)

    return read
