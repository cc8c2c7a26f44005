"""A lane to the device whose copies are late, as those of a GPU's stream may be."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class LateCopies:
    """Copies that have their values only once they are received, in another thread."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.open = 0  # copies that were sent and not received
        self.most = 0

    def begin(self) -> None:
        self.threads.append(threading.current_thread().name)

    def send(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        self.open += 1
        self.most = max(self.most, self.open)
        return [torch.zeros_like(one) for one in tensors], [one.clone() for one in tensors]

    def receive(self, copies: Sequence[Tensor], sent: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.open -= 1
        for copy, one in zip(copies, sent, strict=True):
            copy.copy_(one)
