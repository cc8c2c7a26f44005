r"""The networks that ours are compared with, from packages in `.peers`, beside `.venv`.

pip install --no-deps --no-build-isolation --require-hashes --target .peers \
    -r requirements-peers.lock
"""

from __future__ import annotations

import sys
import types
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

FOLDER = Path(__file__).parents[1] / ".peers"


class Missing(ImportError):
    """The packages are not installed."""


def create_x3d(**settings: Any) -> nn.Module:
    """PyTorchVideo's builder; its own defaults are X3D-S with one block in the first stage.

    Raises:
        Missing: PyTorchVideo is not in `.peers`.
    """
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    _without_torchvision()
    try:
        from pytorchvideo.models.x3d import create_x3d as create  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise Missing(f"PyTorchVideo is not in {FOLDER} ({error}): see {__file__}") from error
    return create(**settings)


def video_tools() -> tuple[Any, Any, Any]:
    """PyTorchVideo's decoder (a class), its sampler of test clips (a class), its transforms.

    Raises:
        Missing: PyTorchVideo is not in `.peers`.
    """
    create_x3d(depth_factor=1.0)  # finds the package
    for name in ("data", "transforms"):  # without their own code, which needs torchvision
        package = types.ModuleType(f"pytorchvideo.{name}")
        package.__path__ = [str(FOLDER / "pytorchvideo" / name)]
        sys.modules.setdefault(f"pytorchvideo.{name}", package)
    found = ("data.encoded_video_pyav", "data.clip_sampling", "transforms.functional")
    decoder, sampling, functional = (import_module(f"pytorchvideo.{name}") for name in found)
    return decoder.EncodedVideoPyAV, sampling.ConstantClipsPerVideoSampler, functional


def _without_torchvision() -> None:
    """Lets PyTorchVideo be imported: it imports a detection layer of torchvision, unused in X3D.

    Torchvision's wheel does not import beside a torch without CUDA.
    """
    if "torchvision" not in sys.modules:
        package, operators = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        operators.RoIAlign = None  # pyright: ignore[reportAttributeAccessIssue]
        package.ops = operators  # pyright: ignore[reportAttributeAccessIssue]
        sys.modules |= {"torchvision": package, "torchvision.ops": operators}
