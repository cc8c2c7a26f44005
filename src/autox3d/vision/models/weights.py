"""A trained network as a folder: weights.safetensors, genotype.yaml, model.json, README.md."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from autox3d.core import names
from autox3d.core.errors import Refused
from autox3d.core.records import Provenance
from autox3d.core.scores import Evaluation
from autox3d.core.search_records import Derived
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.arch.normalisation import NORMALISATION
from autox3d.vision.models import card
from autox3d.vision.models.network import VideoNet
from autox3d.vision.tasks import classify
from autox3d.vision.tasks.task import Task, named

CLASSIFIER = "head.classify."
WEIGHTS, GENOTYPE = "weights.safetensors", "genotype.yaml"
MODEL, README = "model.json", "README.md"
DATASET = re.compile(r"([\w.-]+(/[\w.-]+)?)?", re.ASCII)
REFIT = "Use the genotype that it was trained with."


class Trained(NamedTuple):
    """A network that is ready for use, in evaluation mode."""

    net: VideoNet
    genotype: Genotype
    classes: list[str]
    how: dict[str, Any]  # how the network was made
    metrics: dict[str, Any]  # shares in [0, 1]; empty if none are known
    task: Task = classify.TASK  # the task that it was trained for


def save(
    folder: Path,
    net: VideoNet,
    genotype: Genotype,
    classes: list[str],
    how: dict[str, Any],
    metrics: dict[str, Any] | None = None,
    licence: str = card.LICENCE,
    task: Task = classify.TASK,
) -> None:
    """Writes the folder under a temporary name, then renames it: no reader sees part of it."""
    model = {
        "format": names.FORMAT,
        "name": genotype.name,
        "licence": licence,
        "input": {"layout": "B 3 T H W", **_sizes(genotype), "normalisation": NORMALISATION},
        "classes": classes,
        "metrics": metrics or {},
        "how": how,
    }
    if task != classify.TASK:  # version 1's default when it names no task
        model["task"] = task.name
    with _whole(folder) as part:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
        (part / WEIGHTS).write_bytes(to_bytes(tensors))
        genotype.save(part / GENOTYPE)
        _describe(part, model)


def complete(
    folder: Path,
    out: Path,
    made: Provenance | None,
    test: Evaluation | None,
    derived: Derived | None = None,
    dataset: str = "",
) -> None:
    """Copies the folder, and adds provenance, test metrics and the search to its model card.

    The card of the copy has the front matter that Hugging Face reads.

    Training leaves these out, so that its output is the same on every machine, to the bit, and
    does not depend on an evaluation.

    Args:
        made: the provenance that stage `train` recorded: commit, device, hours
        test: the record of stage `evaluate`
        derived: the record of stage `derive`, for a network that has the choices that it found
        dataset: the name of the training data, as Hugging Face has it: `org/name` or `name`

    Raises:
        Refused: a file is missing or corrupt, or the name cannot be one of a data set.
    """
    if not DATASET.fullmatch(dataset):
        raise Refused(f"--dataset: '{dataset}' has characters that no name there has. Use a-z0-9-.")
    model = _model(folder / MODEL)
    if dataset:
        model["dataset"] = dataset
    if made:
        model["how"] = {**model["how"], "made": made.content()}
    if test:
        model["metrics"] = {**model["metrics"], **card.tested(test)}
    if derived:
        model |= card.searched(derived)
    load(folder)
    with _whole(out) as part:
        for name in (WEIGHTS, GENOTYPE):
            shutil.copyfile(folder / name, part / name)
        _describe(part, model, completed=True)


def _describe(folder: Path, model: dict[str, Any], completed: bool = False) -> None:
    """Writes model.json for programs and README.md for people."""
    (folder / MODEL).write_text(json.dumps(model, indent=2, ensure_ascii=False) + "\n")
    (folder / README).write_text(card.text(model, completed), encoding="utf-8")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder, which replaces `folder` if the block ends without an error."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load(folder: Path) -> Trained:
    """Loads the network of a folder, with its weights on the CPU.

    Raises:
        Refused: a file is missing or corrupt, or the weights do not fit the genotype.
    """
    genotype = Genotype.load(folder / GENOTYPE)
    model = _model(folder / MODEL)
    with torch.device("meta"):
        net = VideoNet(genotype, len(model["classes"]))
    tensors = names.modern(_tensors(folder / WEIGHTS))
    check(tensors, net.state_dict(), folder / WEIGHTS)
    net.load_state_dict(tensors, assign=True)
    task = named(model.get("task", classify.TASK.name))
    return Trained(net.eval(), genotype, model["classes"], model["how"], model["metrics"], task)


def initialise(net: VideoNet, folder: Path) -> list[str]:
    """Copies a folder's weights into `net`, to initialise its training.

    The last layer keeps its own initialisation if the number of classes differs.

    Returns:
        the names of the tensors that were not copied.

    Raises:
        Refused: a file is missing or corrupt, or a tensor of another layer does not fit.
    """
    _model(folder / MODEL)
    tensors, own = names.modern(_tensors(folder / WEIGHTS)), net.state_dict()
    left_out = [
        name
        for name, tensor in tensors.items()
        if name.startswith(CLASSIFIER) and name in own and tensor.shape != own[name].shape
    ]
    kept = {name: own[name] if name in left_out else tensor for name, tensor in tensors.items()}
    check(kept, own, folder / WEIGHTS)
    net.load_state_dict(kept)
    return left_out


def _sizes(genotype: Genotype) -> dict[str, int]:
    clip = genotype.input
    return {"frames": clip.frames, "stride": clip.stride, "crop": clip.crop, "short": clip.short}


def _model(path: Path) -> dict[str, Any]:
    fix = "Train or import the network again."
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except ValueError as error:
        raise Refused(f"{path}: no JSON. {fix}") from error
    classes = model.get("classes") if isinstance(model, dict) else None
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise Refused(f"{path}: no list of classes. {fix}")
    if not isinstance(model.get("how"), dict):
        raise Refused(f"{path}: does not say how the network was made. {fix}")
    names.check_format(model.get("format", 1), path)
    return {"licence": card.FOREIGN, "metrics": {}, **model}  # version 0.1 wrote neither


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except OSError as error:
        reason = error.strerror or "no such file"
        raise Refused(f"{path}: cannot be read ({reason}). Check the path.") from error
    except SafetensorError as error:
        raise Refused(f"{path}: no safetensors ({error}). Train or import it again.") from error


def check(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, fix: str = REFIT
) -> None:
    """Checks that the tensors have the names and shapes of those in `wanted`.

    Raises:
        Refused: names the first tensor that is missing, unknown or of another shape.
    """
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise Refused(f"{path}: '{name}' is missing. {fix}")
        if name not in wanted:
            raise Refused(f"{path}: '{name}' is not in the network. {fix}")
        have, need = list(tensors[name].shape), list(wanted[name].shape)
        if have != need:
            raise Refused(f"{path}: '{name}' is {have}, and the network needs {need}. {fix}")
