"""The multiply-adds of whatever runs, counted where PyTorch dispatches its operators."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
PRODUCTS = {aten.convolution, aten.mm, aten.addmm, aten.bmm, aten.baddbmm}


class Products(TorchDispatchMode):
    """Watches every convolution and matrix product, whichever module or function it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.outputs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in PRODUCTS:
            self.macs += (
                flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out) // 2
            )
            self.outputs += out.numel()
        return out
