"""Imports published X3D weights with the tensor names of PyTorchVideo or SlowFast.

The two differ in one layer: where the first stage halves the pixels but keeps the channels,
SlowFast has a batch norm after the convolution of the shortcut and PyTorchVideo has none (48
parameters less). Our network has the norm; with PyTorchVideo's weights it is the identity in
evaluation (mean 0, variance 1 - eps, scale 1, shift 0). In further training it normalises, as in
SlowFast.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autox3d.core.errors import Refused
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import card, weights
from autox3d.vision.models.network import VideoNet

Names = dict[str, str]  # our layer -> theirs
EPS = 1e-5  # of batch norm

PYTORCHVIDEO_STEM = {"space": "conv.conv_t", "time": "conv.conv_xy", "norm": "norm"}
PYTORCHVIDEO_BLOCK = {
    "expand.conv": "branch2.conv_a",
    "expand.norm": "branch2.norm_a",
    "depthwise.conv": "branch2.conv_b",
    "depthwise.norm": "branch2.norm_b.0",
    "gate.squeeze": "branch2.norm_b.1.block.0",
    "gate.excite": "branch2.norm_b.1.block.2",
    "project.conv": "branch2.conv_c",
    "project.norm": "branch2.norm_c",
    "shortcut.conv": "branch1_conv",
    "shortcut.norm": "branch1_norm",
}
PYTORCHVIDEO_HEAD = {
    "conv.conv": "pool.pre_conv",
    "conv.norm": "pool.pre_norm",
    "hidden": "pool.post_conv",
    "classify": "proj",
}
SLOWFAST_STEM = {"space": "conv_xy", "time": "conv", "norm": "bn"}
SLOWFAST_BLOCK = {
    "expand.conv": "branch2.a",
    "expand.norm": "branch2.a_bn",
    "depthwise.conv": "branch2.b",
    "depthwise.norm": "branch2.b_bn",
    "gate.squeeze": "branch2.se.fc1",
    "gate.excite": "branch2.se.fc2",
    "project.conv": "branch2.c",
    "project.norm": "branch2.c_bn",
    "shortcut.conv": "branch1",
    "shortcut.norm": "branch1_bn",
}
SLOWFAST_HEAD = {
    "conv.conv": "conv_5",
    "conv.norm": "conv_5_bn",
    "hidden": "lin_5",
    "classify": "projection",
}


def convert(checkpoint: Path, genotype: Genotype, classes: list[str] | None, out: Path) -> None:
    """Converts a checkpoint of either library into a folder of weights.

    Args:
        classes: the names of the classes in the order of the classifier; numbers if None

    Raises:
        Refused: the file is not such a checkpoint, or not of this genotype.
    """
    theirs = read(checkpoint)
    source = library(theirs)
    names = layer_names(genotype, source)
    outputs = theirs.get(f"{names['head.classify']}.bias", torch.empty(0))
    classes = classes or [str(number) for number in range(len(outputs))]
    if len(classes) != len(outputs):
        raise Refused(
            f"{checkpoint}: has {len(outputs)} classes, not {len(classes)}. "
            "List them one a line, in the order of its classifier."
        )
    with torch.device("meta"):
        net = VideoNet(genotype, len(classes))
    ours = rename(theirs, net.state_dict(), names)
    weights.check(ours, net.state_dict(), checkpoint, "Give the genotype that it was trained with.")
    net.load_state_dict(ours, assign=True)
    how = {"imported": checkpoint.name, "from": source}
    weights.save(out, net, genotype, classes, how, licence=card.FOREIGN)


def read(checkpoint: Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint without running code that it may contain.

    Raises:
        Refused: the file cannot be read, or has no tensors.
    """
    try:
        content: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Refused(
            f"{checkpoint}: cannot be read ({error.strerror}). Check the path."
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise Refused(
            f"{checkpoint}: not a checkpoint of plain tensors. Download it again; a file that also "
            "holds code is not read, whatever PyTorch advises."
        ) from error
    state = content.get("model_state", content) if isinstance(content, Mapping) else {}
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise Refused(f"{checkpoint}: holds no tensors. Is it a checkpoint of a network?")
    return tensors


def library(tensors: Mapping[str, Tensor]) -> str:
    """The library of the tensor names: PyTorchVideo, unless SlowFast's stem is there."""
    return "SlowFast" if "s1.pathway0_stem.conv_xy.weight" in tensors else "PyTorchVideo"


def layer_names(genotype: Genotype, source: str) -> Names:
    """Their names of all layers with weights, by our names; for networks without attention."""
    slowfast = source == "SlowFast"
    stem = SLOWFAST_STEM if slowfast else PYTORCHVIDEO_STEM
    inside = SLOWFAST_BLOCK if slowfast else PYTORCHVIDEO_BLOCK
    head = SLOWFAST_HEAD if slowfast else PYTORCHVIDEO_HEAD
    stages = len(genotype.groups)
    first = "s1.pathway0_stem" if slowfast else "blocks.0"
    last = "head" if slowfast else f"blocks.{stages + 1}"
    names = {f"stem.{ours}": f"{first}.{theirs}" for ours, theirs in stem.items()}
    number = 0
    for stage, group in enumerate(genotype.groups, 1):
        for index in range(group.blocks):
            block = (
                f"s{stage + 1}.pathway0_res{index}"
                if slowfast
                else f"blocks.{stage}.res_blocks.{index}"
            )
            names |= {f"blocks.{number}.{our}": f"{block}.{their}" for our, their in inside.items()}
            number += 1
    return names | {f"head.{ours}": f"{last}.{theirs}" for ours, theirs in head.items()}


def rename(
    theirs: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: Names
) -> dict[str, Tensor]:
    """Renames their tensors to our names; missing ones are left out, unknown ones are kept.

    A missing norm of a shortcut that keeps the number of channels becomes the identity.
    """
    left, ours = dict(theirs), {}
    dtype = next(iter(theirs.values())).dtype
    bare = {
        name.replace("conv.weight", "norm")
        for name, weight in wanted.items()
        if name.endswith("shortcut.conv.weight") and weight.shape[0] == weight.shape[1]
    }
    for name, like in wanted.items():
        layer, _, kind = name.rpartition(".")
        their = f"{names[layer]}.{kind}" if layer in names else name
        if their in left:
            tensor = left.pop(their)
            ours[name] = tensor.flatten(1) if layer == "head.hidden" else tensor
        elif kind == "num_batches_tracked":
            ours[name] = torch.tensor(0)
        elif layer in bare:
            ours[name] = identity_norm(kind, like.shape, dtype)
    return ours | left


def identity_norm(kind: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A tensor of a batch norm that is the identity in evaluation."""
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - EPS}
    return torch.full(shape, values[kind], dtype=dtype)
