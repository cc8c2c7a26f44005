"""Readers of video frames, each a function (path, indices) -> uint8 (T, H, W, 3), on one thread.

For a peer that is not installed or cannot be imported there is a line of text instead.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import peers
import torch
import torch.nn.functional as F
from torch import Tensor

from autox3d.inference.files import open_video
from autox3d.vision.clips.format.decode import IndexedVideo
from autox3d.vision.clips.views import Box

CLOSE = 3.0  # mean difference of 255: colour conversions differ in rounding and chroma
ROUGH = 12.0  # where pixels are resized in another order, without antialiasing, and cut elsewhere

Reader = Callable[[Path, np.ndarray], np.ndarray]


def ours(path: Path, indices: np.ndarray) -> np.ndarray:
    return IndexedVideo(path.read_bytes()).frames(indices)


def any_file(path: Path, indices: np.ndarray) -> np.ndarray:
    """Our reader for files that are not MP4 with H.264."""
    return open_video(path).frames(indices)


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


def usable(only: list[str] | None) -> dict[str, Reader]:
    """The readers that can be used, ours first, and of the peers only `only`; prints the others."""
    found: dict[str, Reader] = {}
    for name, reader in everyone().items():
        if only and not name.startswith("ours") and name not in only:
            continue
        if isinstance(reader, str):
            print(f"{name} {reader}")
        else:
            found[name] = reader
    return found


def everyone() -> dict[str, Reader | str]:
    """All readers by name, ours first."""
    found: dict[str, Reader | str] = {"ours": ours, "ours, any file": any_file}
    found["PyAV, everything"] = pyav
    found["SlowFast's way"] = slowfast
    makers = {"PyTorchVideo": _pytorchvideo, "decord": _decord}
    makers |= {"torchcodec": _torchcodec, "OpenCV": _opencv}
    for name, make in makers.items():
        try:
            found[name] = make()
        except (ImportError, OSError, RuntimeError) as error:
            found[name] = f"skipped: {str(error).strip().splitlines()[0]}"
    return found


def as_published(frames: np.ndarray, height: int, width: int, box: Box) -> Tensor:
    """uint8 (T, H, W, 3) -> float (3, T, S, S): what SlowFast and mmaction2 do to pixels.

    The whole frame to float, normalised, resized to height x width; then the box is cut.
    """
    pixels = (torch.from_numpy(frames).float() / 255 - 0.45) / 0.225
    pixels = F.interpolate(pixels.permute(0, 3, 1, 2), (height, width), mode="bilinear")
    top, left, side = box
    return pixels[:, :, top : top + side, left : left + side].transpose(0, 1)


def compare(what: str, found: np.ndarray | Tensor, expected: np.ndarray | Tensor) -> None:
    """Exits if pixels, in any of our layouts, are not the expected ones.

    The result of `as_published` is converted back to bytes first.
    """
    close, pixels = CLOSE, torch.as_tensor(found)
    if pixels.is_floating_point():  # (..., 3, T, S, S)
        close, pixels = ROUGH, (pixels * 0.225 + 0.45).movedim(-4, -1) * 255
    off = (pixels.float() - torch.as_tensor(expected).float()).abs().mean().item()
    if not off <= close:
        raise SystemExit(f"{what}: other pixels, {off:.1f} of 255 away ({close:.0f} at most)")


def _pytorchvideo() -> Reader:
    decoder, *_ = peers.video_tools()

    def read(path: Path, indices: np.ndarray) -> np.ndarray:
        """Reads every frame from the first to the last as float, then selects the wanted ones."""
        first, last = int(indices[0]), int(indices[-1])
        with path.open("rb") as file:
            video = decoder(file, decode_audio=False)
            clip = video.get_clip(Fraction(first, 30), Fraction(last + 1, 30))["video"]
            video.close()
        chosen = clip[:, torch.from_numpy(indices) - first]
        return chosen.permute(1, 2, 3, 0).to(torch.uint8).numpy()

    return read


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
        """Seeks once, then grabs the frames in between."""
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
