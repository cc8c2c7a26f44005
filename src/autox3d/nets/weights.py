"""A trained network as a folder: weights.safetensors, genotype.yaml, model.json."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from autox3d.errors import Refused
from autox3d.genotype import Genotype
from autox3d.nets.network import VideoNet

NORMALISATION = {"mean": 0.45, "std": 0.225}  # (x / 255 - mean) / std
CLASSIFIER = "head.classify."
REFIT = "Use the genotype that it was trained with."


class Trained(NamedTuple):
    """A network that is ready for use, in evaluation mode."""

    net: VideoNet
    genotype: Genotype
    classes: list[str]
    how: dict[str, Any]  # how it was made


def save(
    folder: Path, net: VideoNet, genotype: Genotype, classes: list[str], how: dict[str, Any]
) -> None:
    """Writes the folder; it stands whole under its name, or not at all."""
    card = {
        "name": genotype.name,
        "input": {"layout": "B 3 T H W", **_sizes(genotype), "normalisation": NORMALISATION},
        "classes": classes,
        "how": how,
    }
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
        (part / "weights.safetensors").write_bytes(to_bytes(tensors))
        genotype.save(part / "genotype.yaml")
        (part / "model.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load(folder: Path) -> Trained:
    """The network of a folder, its weights on the CPU.

    Raises:
        Refused: a file is missing or garbled, or the weights are not those of the genotype.
    """
    genotype = Genotype.load(folder / "genotype.yaml")
    card = _card(folder / "model.json")
    with torch.device("meta"):
        net = VideoNet(genotype, len(card["classes"]), dropout=0.0, bn_clips=1)
    tensors = _tensors(folder / "weights.safetensors")
    check(tensors, net.state_dict(), folder / "weights.safetensors")
    net.load_state_dict(tensors, assign=True)
    return Trained(net.eval(), genotype, card["classes"], card["how"])


def initialise(net: VideoNet, folder: Path) -> list[str]:
    """Copies a folder's weights into `net`, as the start of its training.

    The last layer starts anew where the number of classes differs.

    Returns:
        the tensors that were left out.

    Raises:
        Refused: a file is missing or garbled, or another tensor does not fit.
    """
    tensors, own = _tensors(folder / "weights.safetensors"), net.state_dict()
    left_out = [
        name
        for name, tensor in tensors.items()
        if name.startswith(CLASSIFIER) and name in own and tensor.shape != own[name].shape
    ]
    kept = {name: own[name] if name in left_out else tensor for name, tensor in tensors.items()}
    check(kept, own, folder / "weights.safetensors")
    net.load_state_dict(kept)
    return left_out


def _sizes(genotype: Genotype) -> dict[str, int]:
    clip = genotype.input
    return {"frames": clip.frames, "stride": clip.stride, "crop": clip.crop, "short": clip.short}


def _card(path: Path) -> dict[str, Any]:
    fix = "Train or import the network again."
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except ValueError as error:
        raise Refused(f"{path}: no JSON. {fix}") from error
    classes = card.get("classes") if isinstance(card, dict) else None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise Refused(f"{path}: no list of classes. {fix}")
    if not isinstance(card.get("how"), dict):
        raise Refused(f"{path}: does not say how the network was made. {fix}")
    return card


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except OSError as error:
        reason = error.strerror or "no such file"
        raise Refused(f"{path}: cannot be read ({reason}). Check the path.") from error
    except SafetensorError as error:
        raise Refused(f"{path}: no safetensors ({error}). Train or import it again.") from error


def check(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, fix: str = REFIT
) -> None:
    """Refuses the first tensor that is missing, unknown or of another shape."""
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise Refused(f"{path}: '{name}' is missing. {fix}")
        if name not in wanted:
            raise Refused(f"{path}: '{name}' is not in the network. {fix}")
        have, need = list(found[name].shape), list(wanted[name].shape)
        if have != need:
            raise Refused(f"{path}: '{name}' is {have}, and the network needs {need}. {fix}")
