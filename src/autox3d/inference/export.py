"""Exports a network as one file for other programs: .pt2 or ONNX, in float32 or int8.

    B clips, T frames, S x S pixels, C classes

Both take normalised clips (B, 3, T, S, S) for any B and return scores (B, C). The file also holds
the classes, sizes and normalisation. It gets its name only after it has been loaded again and has
reproduced the scores of the network.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import Dim

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.inference.agreement import LEAST, Agreement
from autox3d.inference.fast import Scored, plain
from autox3d.inference.network import cropped, refuse_boxed
from autox3d.inference.stream import windows
from autox3d.ingest.source import BadVideo
from autox3d.vision.arch.normalisation import NORMALISATION
from autox3d.vision.clips.views import Crops
from autox3d.vision.models.fold import folded
from autox3d.vision.models.weights import Trained

TOLERANCE = 1e-4  # largest difference of a score from the network's
CARD = "autox3d.json"  # the file with the card in a .pt2; in ONNX its keys are metadata
BATCH = {"clips": {0: Dim("batch", min=1, max=4096)}}
Exported = Callable[[Tensor], Tensor]  # (B, 3, T, S, S) -> (B, C)


class ExportResult(NamedTuple):
    """A file that was written."""

    difference: float  # largest difference of a score from the network's, on random clips
    bytes: int  # size of the file
    agreement: Agreement | None = None  # with the network, on the videos that were given


def export(
    trained: Trained,
    out: Path,
    side: int,
    calibration: Tensor | None = None,
    judge: Callable[[Exported], Agreement] | None = None,
    least: float = LEAST,
) -> ExportResult:
    """Writes the file `out`, in the format of its ending.

    Args:
        side: S
        calibration: uint8 (N, T, S, S, 3), typical clips; with them the .onnx computes in int8
        judge: compares the file with the network on videos
        least: share of these videos that must keep their best class

    Raises:
        Refused: the ending is another, int8 is requested for a .pt2, the scores of the file
            differ from those of the network, or too few videos keep their best class.
    """
    if out.suffix not in (".pt2", ".onnx"):
        raise Refused(f"{out}: cannot be written. Give a name that ends in .pt2 or .onnx.")
    if out.suffix == ".pt2" and calibration is not None:
        raise Refused(f"{out}: only ONNX computes in int8. Give a name that ends in .onnx.")
    refuse_boxed(trained.task, trained.genotype.name)
    net = Scored(folded(trained.net), trained.task).eval().float()
    clips, about = torch.randn(3, 3, trained.genotype.input.frames, side, side), card(trained, side)
    with atomic.replacing(out) as part, tempfile.TemporaryDirectory() as scratch, _quiet():
        if out.suffix == ".pt2":
            _write_pt2(net, clips, about, part)
            run = open_pt2(part)
        else:
            from autox3d.inference import onnx_file  # needs packages that a .pt2 does not

            plain = part if calibration is None else Path(scratch) / "float.onnx"
            with torch.no_grad():
                onnx_file.write(net, clips, BATCH, about, plain)
            _check(out, onnx_file.read(plain), trained, clips)
            if calibration is not None:
                onnx_file.quantise(plain, calibration, part)
            run = onnx_file.read(part)
        difference = _difference(run, trained, clips)
        if calibration is None:
            _check(out, run, trained, clips)
        agreement = judge(run) if judge else None
        if agreement and agreement.same < least * agreement.videos:
            fix = "Nothing was written. Calibrate on more videos, or give a smaller --agree."
            raise Refused(f"{out}: {agreement}; {100 * least:.0f} % must. {fix}")
        return ExportResult(difference, part.stat().st_size, agreement)


def calibration(trained: Trained, videos: list[Path], crops: Crops) -> Tensor:
    """One clip of each video, uint8 (N, T, S, S, 3), with the crops taken in turn.

    Raises:
        Refused: a video cannot be used.
    """
    clip, clips = trained.genotype.input, []
    for number, video in enumerate(videos):
        try:
            frames = windows(video, 1, clip.frames, clip.stride, clip.short, "linspace")
            each = cropped(next(frames).frames, crops, clip)
        except BadVideo as error:
            fix = "Calibrate on videos that can be decoded."
            raise Refused(f"{video}: {error}. {fix}") from error
        clips.append(each[number % len(each)])
    return torch.stack(clips)


def card(trained: Trained, side: int) -> dict[str, Any]:
    """What a program needs to know to use the file, as in model.json."""
    clip = trained.genotype.input
    return {
        "name": trained.genotype.name,
        "classes": trained.classes,
        "frames": clip.frames,
        "stride": clip.stride,
        "side": side,
        "normalisation": NORMALISATION,
    }


def open_pt2(path: Path) -> Exported:
    """Opens a .pt2; PyTorch computes its scores without the code of this project."""
    return torch.export.load(io.BytesIO(path.read_bytes())).module()


def _write_pt2(net: torch.nn.Module, clips: Tensor, card: dict[str, Any], path: Path) -> None:
    with torch.no_grad():
        program = torch.export.export(net, (clips,), dynamic_shapes=BATCH)
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={CARD: json.dumps(card)})
    path.write_bytes(content.getvalue())


def _check(out: Path, run: Exported, trained: Trained, clips: Tensor) -> None:
    difference = _difference(run, trained, clips)
    if not difference <= TOLERANCE:
        raise Refused(
            f"{out}: scores differ by {difference:.1e} from the network's, "
            f"more than {TOLERANCE:.0e}. Nothing was written."
        )


@torch.no_grad()
def _difference(run: Exported, trained: Trained, clips: Tensor) -> float:
    """The largest difference of a score, for all clips at once and for the first one alone."""
    net, batches = plain(trained), (clips, clips[:1])
    return max(float((run(x) - net(x)).abs().max()) for x in batches)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporters print about their inner steps."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
