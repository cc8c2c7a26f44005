"""ONNX files of networks: written, quantised to int8, and run by ONNX Runtime.

    B clips, T frames, S x S pixels, C classes

All that needs the packages of the extra `export` is here, and nobody imports it who needs it not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization
from onnxruntime.quantization import shape_inference
from torch import Tensor

from autox3d.vision.clips.normalise import normalise

OPSET = 25  # the newest that both exporter and runtime support


def read(path: Path, threads: int | None = None) -> Callable[[Tensor], Tensor]:
    """Opens a .onnx; ONNX Runtime computes its scores on the CPU: (B, 3, T, S, S) -> (B, C)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(clips: Tensor) -> Tensor:
        (scores,) = session.run(None, {"clips": clips.contiguous().numpy()})
        return torch.from_numpy(np.asarray(scores))

    return run


def write(
    net: torch.nn.Module, clips: Tensor, batch: Any, card: Mapping[str, Any], path: Path
) -> None:
    """Writes a network in float32, with the card as the file's metadata.

    Args:
        clips: an example, (B, 3, T, S, S)
        batch: which sizes of it are free, as `torch.export` wants it
    """
    program = torch.onnx.export(
        net,
        (clips,),
        input_names=["clips"],
        output_names=["scores"],
        opset_version=OPSET,
        dynamic_shapes=batch,
        dynamo=True,
    )
    assert program is not None
    model = program.model_proto
    for key, value in card.items():
        model.metadata_props.add(
            key=key, value=value if isinstance(value, str) else json.dumps(value)
        )
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


class _Clips(quantization.CalibrationDataReader):
    """Gives the calibration clips one by one to ONNX Runtime."""

    def __init__(self, clips: Iterable[Tensor]) -> None:
        self._clips = iter(clips)

    def get_next(self) -> Any:
        clip = next(self._clips, None)
        return None if clip is None else {"clips": normalise(clip).contiguous().numpy()}


def quantise(plain: Path, calibration: Tensor, path: Path) -> None:
    """Quantises the weights, by channel, and activations of convolutions and matrix products.

    Args:
        plain: a file in float32
        calibration: uint8 (N, T, S, S, 3), typical clips
    """
    prepared = plain.with_name("prepared.onnx")
    shape_inference.quant_pre_process(plain, prepared)
    quantization.quantize_static(
        prepared,
        path,
        _Clips(calibration.split(1)),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
