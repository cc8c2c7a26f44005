"""A sum of gradients of all parameters, in one tensor: few launches, and a message as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import (
    Tensor,
    _foreach_add_,  # pyright: ignore[reportPrivateImportUsage]
    nn,
)


class GradientSum:
    """Adds gradients up, and keeps none of them: a network's are as large as its shared weights.

    Args:
        parameters: what is differentiated by
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        sizes = [parameter.numel() for parameter in parameters]
        self.flat = parameters[0].new_zeros(sum(sizes))  # of one parameter after the other
        self._places = self.flat.split(sizes)

    def add(self, value: Tensor) -> None:
        """Adds the gradient of a number, 0 where it depends on a parameter not at all."""
        found = torch.autograd.grad(value, self._parameters, allow_unused=True)
        pairs = zip(self._places, found, strict=True)
        used = [(place, one.reshape(-1)) for place, one in pairs if one is not None]
        _foreach_add_([place for place, _ in used], [one for _, one in used])

    def parts(self) -> list[Tensor]:
        """The sum as views of `flat`, each of its parameter's shape."""
        pairs = zip(self._places, self._parameters, strict=True)
        return [place.view(parameter.shape) for place, parameter in pairs]
