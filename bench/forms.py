r"""Size, accuracy, agreement and latency of a network's forms: PyTorch, .pt2, ONNX, int8, OpenVINO.

    python -m bench.forms --weights data/weights/s --videos data/raw/demo/test \
        --calibration data/raw/demo/train

The class of a video is the name of its folder. All forms score the same 30 views of each video,
decoded once; int8 is calibrated on clips of other videos, eight of each class. Latency is measured
on 30 synthetic views. OpenVINO, which reads the ONNX file, has a row if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from autox3d.inference import export, onnx_file
from autox3d.inference.fast import fast, plain
from autox3d.inference.latency import measure
from autox3d.inference.network import CPU_BATCH, cropped
from autox3d.inference.stream import windows
from autox3d.ingest.source import BadVideo
from autox3d.runtime import provenance
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.models import weights

A_CLASS = 8  # clips for calibration


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description="A network's forms: accuracy and latency.")
    for name in ("weights", "videos", "calibration"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000, help="videos a class, at most")
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    trained = weights.load(args.weights)
    side = trained.genotype.input.short
    views = list(labelled(args.videos, trained, args.count))
    with tempfile.TemporaryDirectory() as scratch:
        forms = runs(trained, calibration(args.calibration, trained), Path(scratch), side)
    device = provenance.device_name(torch.device("cpu"))
    print(f"{trained.genotype.name}, {len(views)} videos; {device}\n")
    columns = ("form", "MB", "top-1, %", "same best class", "mean move of a score")
    print(f"| {' | '.join(columns)} | 30 views, ms (quartiles) | one by one, ms |")
    print(f"|---{'|---:' * 6}|")
    expected = None
    clips = torch.randn(30, 3, trained.genotype.input.frames, side, side)
    for name, (run, dtype, size) in forms.items():
        with torch.no_grad():
            scores = torch.stack([mean(run, x, dtype) for x, _ in views])
            took = measure(run, clips.to(dtype), CPU_BATCH, args.repeats, warmup=3)
        expected = scores if expected is None else expected
        labels = torch.tensor([label for _, label in views])
        top1 = 100 * float((scores.argmax(1) == labels).float().mean())
        moved = float((scores - expected).abs().mean())
        same = int((scores.argmax(1) == expected.argmax(1)).sum())
        times = [
            f"{1e3 * t.median:.1f} ({1e3 * t.low:.1f} to {1e3 * t.high:.1f})" for t in took[:2]
        ]
        row = (
            f"{size / 1e6:.2f}",
            f"{top1:.1f}",
            f"{same} of {len(views)}",
            f"{moved:.1e}",
            *times,
        )
        print(f"| {name} | {' | '.join(row)} |")


def mean(run: export.Exported, views: Tensor, dtype: torch.dtype) -> Tensor:
    """The mean scores of views: uint8 (V, T, S, S, 3) -> float32 (C,)."""
    pieces = normalise(views).to(dtype).split(CPU_BATCH)
    return torch.cat([run(piece).float() for piece in pieces]).mean(0)


Form = tuple[export.Exported, torch.dtype, int]


def runs(trained: weights.Trained, typical: Tensor, scratch: Path, side: int) -> dict[str, Form]:
    """Each form, the dtype of its input and its bytes; the others are compared with the first."""
    names = ("float32.onnx", "int8.onnx", "float32.pt2")
    onnx, int8, pt2 = (scratch / name for name in names)
    sizes = [
        export.export(trained, path, side, typical if path == int8 else None).bytes
        for path in (onnx, int8, pt2)
    ]
    cpu, whole, half = torch.device("cpu"), torch.float32, torch.bfloat16
    size = 4 * sum(one.numel() for one in trained.net.parameters())
    forms: dict[str, Form] = {
        "float32, as trained": (plain(trained), whole, size),
        "float32, folded": (fast(trained, cpu, whole), whole, size),
        "bfloat16, folded": (fast(trained, cpu, half), half, size // 2),
        ".pt2": (export.open_pt2(pt2), whole, sizes[2]),
        "ONNX, float32": (onnx_file.read(onnx), whole, sizes[0]),
        "ONNX, int8": (onnx_file.read(int8), whole, sizes[1]),
    }
    if importlib.util.find_spec("openvino"):
        forms["OpenVINO, float32"] = (open_vino(onnx), whole, sizes[0])
        forms["OpenVINO, int8"] = (open_vino(int8), whole, sizes[1])
    return forms


def open_vino(path: Path) -> export.Exported:
    """OpenVINO's reader of an ONNX file; in float32, because it takes bfloat16 by itself."""
    import openvino  # pyright: ignore[reportMissingImports]  # nobody else needs it

    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    model = openvino.Core().compile_model(path, "CPU", hints)
    return lambda clips: torch.from_numpy(model([clips.contiguous().numpy()])[0].copy())


def labelled(folder: Path, trained: weights.Trained, count: int) -> Iterable[tuple[Tensor, int]]:
    """Yields the views, uint8 (30, T, S, S, 3), and the class of every video that decodes."""
    clip = trained.genotype.input
    chosen = [sorted((folder / name).iterdir())[:count] for name in trained.classes]
    for path in (path for paths in chosen for path in paths):
        try:
            found = windows(path, 10, clip.frames, clip.stride, clip.short, "linspace")
            views = torch.cat([cropped(window.frames, "lcr", clip) for window in found])
        except BadVideo:
            continue
        yield views, trained.classes.index(path.parent.name)


def calibration(folder: Path, trained: weights.Trained) -> Tensor:
    """Clips of the first videos of each class, uint8 (N, T, S, S, 3)."""
    kinds = sorted(path for path in folder.iterdir() if path.is_dir())
    chosen = [path for kind in kinds for path in sorted(kind.glob("0*"))[:A_CLASS]]
    return export.calibration(trained, chosen, "lcr")


if __name__ == "__main__":
    main()
