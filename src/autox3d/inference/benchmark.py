"""Benchmarks of networks side by side, each in several forms: latency, memory, size."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autox3d.core.errors import Refused
from autox3d.core.records import Seconds
from autox3d.inference import export
from autox3d.inference.fast import default_device, fast, plain
from autox3d.inference.latency import measure
from autox3d.inference.network import CPU_BATCH
from autox3d.runtime import provenance
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights
from autox3d.vision.models.fold import fast_dtype
from autox3d.vision.models.network import VideoNet
from autox3d.vision.models.weights import Trained

COLUMNS = ("network", "form", "type", "G MACs a view", "batched, s", "one by one, s", "peak, MB")


def benchmark(
    networks: Sequence[Path],
    forms: Sequence[str],
    *,
    views: int,
    batch: int | None,
    repeats: int,
    warmup: int,
    device: str | None,
    classes: int,
) -> list[dict[str, Any]]:
    """One row a network and form: the time for all `views` left-centre-right crops.

    The forms: `plain`, as it was trained; `folded`, without batch norms; `bfloat16`, folded;
    `fast`, whichever of the last two prediction uses; `pt2` and `onnx`, exported.

    Raises:
        Refused: a network cannot be loaded, or the device cannot run a form.
    """
    place = default_device(device)
    size = batch or (views if place.type == "cuda" else CPU_BATCH)
    rows = []
    for path in networks:
        trained = opened(path, classes)
        clip = trained.genotype.input
        clips = torch.randn(views, 3, clip.frames, clip.short, clip.short, device=place)
        account = cost(trained.genotype, len(trained.classes), clip.frames, clip.short)
        for form in forms:
            run, dtype = FORMS[form](trained, place)
            with torch.no_grad():
                measured = measure(run, clips.to(dtype), size, repeats, warmup)
            rows.append(
                {
                    "network": trained.genotype.name,
                    "weights": str(path),
                    "form": form,
                    "dtype": str(dtype).removeprefix("torch."),
                    "device": provenance.device_name(place),
                    "views": views,
                    "batch": size,
                    "repeats": repeats,
                    "gmacs_lcr": account.gmacs,
                    "params": account.params,
                    "batched": asdict(measured.batched),
                    "one_by_one": asdict(measured.one_by_one),
                    "peak_mb": round(measured.peak_mb, 1),
                }
            )
    return rows


def opened(path: Path, classes: int) -> Trained:
    """A folder of weights, or a genotype with random weights, which take the same time."""
    if path.is_dir():
        return weights.load(path)
    genotype = Genotype.load(path)
    net = VideoNet(genotype, classes).eval()
    return Trained(net, genotype, [str(number) for number in range(classes)], {}, {})


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown: medians with quartiles."""
    first = rows[0]
    lines = [
        f"{first['device']}; {first['views']} views, {first['batch']} at once; "
        f"{first['repeats']} repeats: median (quartiles)\n",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * 3}{'---:|' * 4}",
    ]
    for row in rows:
        times = (spread(Seconds(**row[key])) for key in ("batched", "one_by_one"))
        cells = (row["network"], row["form"], row["dtype"], f"{row['gmacs_lcr']:.3g}", *times)
        lines.append(f"| {' | '.join(cells)} | {row['peak_mb']:.0f} |")
    return "\n".join(lines)


def spread(seconds: Seconds) -> str:
    """The median and the quartiles, as in `1.204 (1.198 to 1.220)`."""
    return f"{seconds.median:.3f} ({seconds.low:.3f} to {seconds.high:.3f})"


Form = tuple[Callable[[Tensor], Tensor], torch.dtype]


def _plain(trained: Trained, device: torch.device) -> Form:
    return plain(trained).to(device), torch.float32


def _folded(trained: Trained, device: torch.device) -> Form:
    return fast(trained, device, torch.float32), torch.float32


def _bfloat16(trained: Trained, device: torch.device) -> Form:
    return fast(trained, device, torch.bfloat16), torch.bfloat16


def _fast(trained: Trained, device: torch.device) -> Form:
    dtype = fast_dtype(device)
    return fast(trained, device, dtype), dtype


def _read_onnx(path: Path) -> export.Exported:
    from autox3d.inference import onnx_file  # needs packages that the other forms do not

    return onnx_file.read(path)


def _exported(suffix: str, load: Callable[[Path], export.Exported]) -> Callable[..., Form]:
    def form(trained: Trained, device: torch.device) -> Form:
        if device.type != "cpu":
            raise Refused(f"--forms {suffix[1:]}: runs on the CPU only. Add --device cpu.")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"net{suffix}"
            export.export(trained, path, trained.genotype.input.short)
            return load(path), torch.float32

    return form


FORMS: dict[str, Callable[[Trained, torch.device], Form]] = {
    "fast": _fast,
    "folded": _folded,
    "plain": _plain,
    "bfloat16": _bfloat16,
    "pt2": _exported(".pt2", export.open_pt2),
    "onnx": _exported(".onnx", _read_onnx),
}
