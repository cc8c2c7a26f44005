"""How a search chooses among networks: one frozen value of functions, a file each in `strategies`.

    alpha  the state of the prior, logits of independent choices
    A_k    draw k of K
    l_k    log-likelihood of a chunk of clips under A_k, nats

The loop owns batches, processes, optimisers and the trace; a strategy says which networks a chunk
sees, what each of them counts, and where the prior goes. `search.strategy` names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from autox3d.core.errors import Refused
from autox3d.search.prior import Prior
from autox3d.search.space import Draw

Forward = Callable[[], Tensor]  # the log-likelihood of one draw, with its graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """The functions of a strategy; `scale` divides log-likelihoods before they are compared.

    propose          (prior, count, generator) -> the draws of a chunk
    weigh            (l_k (K,), scale) -> (K,): the share of each draw, sum 1
    weight_gradient  (forwards, parameters, scale) -> the gradient to go up, a tensor for each
                     parameter, and l_k (K,)
    alpha_gradient   (prior, draws, shares (K,), pull (K,)) -> the gradient to go up, like alpha;
                     `pull` is what the cost takes from each share
    choose           (prior) -> the draw that the search ends with
    """

    propose: Callable[[Prior, int, torch.Generator], list[Draw]]
    weigh: Callable[[Tensor, float], Tensor]
    weight_gradient: Callable[
        [Iterable[Forward], Sequence[nn.Parameter], float], tuple[list[Tensor], Tensor]
    ]
    alpha_gradient: Callable[[Prior, Sequence[Draw], Tensor, Tensor], Tensor]
    choose: Callable[[Prior], Draw]


def named(name: str) -> Strategy:
    """The strategy of a file in `strategies`, such as `parsec`.

    Raises:
        Refused: there is no such strategy.
    """
    known = sorted(names())
    if name not in known:
        raise Refused(
            f"params.yaml: 'search.strategy' must be one of {', '.join(known)}, not '{name}'."
        )
    return importlib.import_module(f"autox3d.search.strategies.{name}").STRATEGY


def names() -> set[str]:
    """The strategies that there are: the files of the folder `strategies`."""
    files = (Path(__file__).parent / "strategies").glob("*.py")
    return {path.stem for path in files} - {"__init__"}
