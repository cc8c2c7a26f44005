r"""X3D-S on 30 views of whole video files: ours against PyTorchVideo's, with its own decoder.

    python -m bench.inference                           # CPU, generated videos
    python -m bench.inference --videos FOLDER --threads 2

Both read the same files and score the same views: 10 clips of 13 frames, stride 6, by three crops
of 182 px. Theirs is what its own data sets do in a test: `EncodedVideoPyAV` on the clips of
`ConstantClipsPerVideoSampler` (one decode of a clip for its three crops), frames subsampled,
scaled and cropped by its transforms, and its X3D-S, in batches as large as ours. Ours is
`Network.predict`. The two alternate, file by file, in one process.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bench import footage, peers
from torch import Tensor

from autox3d.inference.benchmark import opened
from autox3d.inference.network import CPU_BATCH, Network
from autox3d.runtime import provenance
from autox3d.vision.models.weights import Trained

X3D_S = Path(__file__).parents[1] / "architectures" / "x3d_s.yaml"
CLASSES, FRAMES, STRIDE, SHORT, CLIPS, CROPS = 400, 13, 6, 182, 10, 3
CPU = torch.device("cpu")
Predict = Callable[[Path], Tensor]  # (400,) scores


def main() -> None:
    """Prints a table in Markdown: wall and CPU seconds a video, medians."""
    args = arguments()
    torch.set_num_threads(args.threads)
    trained = opened(X3D_S, CLASSES)
    contenders: dict[str, Predict] = {
        "autox3d": ours(trained, None),
        "PyTorchVideo": theirs(torch.contiguous_format),
    }
    if args.more:
        contenders["autox3d, float32"] = ours(trained, torch.float32)
        contenders["PyTorchVideo, channels last"] = theirs(torch.channels_last_3d)
    with footage.encoded(args.videos, args.count) as videos:
        files = [video.default for video in videos]
        taken = interleaved(contenders, files, args.repeats)
    print(f"torch {torch.__version__}, {provenance.device_name(CPU)}")
    print(f"{len(files)} videos, {args.repeats} times; {CLIPS * CROPS} views each\n")
    print("| 30 views of a video | wall, s | times ours | CPU, s | times ours |")
    print("|---|---:|---:|---:|---:|")
    mine = [median(taken["autox3d"], which) for which in (0, 1)]
    for name, seconds in taken.items():
        found = [median(seconds, which) for which in (0, 1)]
        cells = [f"{s:.2f} | {s / m:.2f}" for s, m in zip(found, mine, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")


def arguments() -> argparse.Namespace:
    """The options on the command line."""
    parser = argparse.ArgumentParser(description="X3D-S on videos against PyTorchVideo's.")
    parser.add_argument("--videos", type=Path, help="folder of real videos; else, generated ones")
    parser.add_argument("--count", type=int, default=4, help="videos used, at most")
    parser.add_argument("--repeats", type=int, default=2, help="times each video is predicted")
    parser.add_argument("--more", action="store_true", help="ours in float32, theirs in our layout")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def ours(trained: Trained, dtype: torch.dtype | None) -> Predict:
    """Our network, folded, with our decoder prefetching clips."""
    network = Network(trained, "cpu", dtype)
    return lambda path: network.predict(path, CLIPS).scores


def theirs(layout: torch.memory_format) -> Predict:
    """PyTorchVideo's network behind its own decoder and transforms."""
    net = peers.create_x3d(
        model_num_class=CLASSES,
        input_clip_length=FRAMES,
        input_crop_size=160,
        depth_factor=2.2,
    ).eval()
    net = net.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    video_class, sampler, functional = peers.video_tools()

    def clip(decoded: Tensor) -> list[Tensor]:
        """The three crops of a clip: (3, frames, H, W) -> three of (3, 13, 182, 182)."""
        few = functional.uniform_temporal_subsample(decoded, FRAMES)
        scaled = functional.short_side_scale((few / 255 - 0.45) / 0.225, SHORT)
        return [functional.uniform_crop(scaled, SHORT, side) for side in range(CROPS)]

    @torch.inference_mode()
    def predict(path: Path) -> Tensor:
        video = video_class(io.BytesIO(path.read_bytes()), path.name, decode_audio=False)
        choose = sampler(FRAMES * STRIDE / 30, CLIPS, 1)
        views: list[Tensor] = []
        last = False
        while not last:
            start, end, _, _, last = choose(0.0, video.duration, {})
            views += clip(video.get_clip(start, end)["video"])
        batches = torch.stack(views).to(memory_format=layout).split(CPU_BATCH)
        return torch.cat([net(batch) for batch in batches]).mean(0)

    return predict


def interleaved(
    contenders: dict[str, Predict], files: list[Path], repeats: int
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each contender for each file, after one file of warm-up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number, path in enumerate([files[0], *files * repeats]):
        for name, predict in contenders.items():
            began, spent = time.perf_counter(), time.process_time()
            scores = predict(path)
            seconds = time.perf_counter() - began, time.process_time() - spent
            assert scores.shape == (CLASSES,)
            if number:
                taken[name].append(seconds)
    return taken


def median(seconds: list[tuple[float, float]], which: int) -> float:
    return statistics.median(pair[which] for pair in seconds)


if __name__ == "__main__":
    main()
