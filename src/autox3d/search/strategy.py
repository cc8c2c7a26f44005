"""The interface of search strategies: a frozen set of functions, one file each in `strategies`.

    alpha  logits of the prior, which has independent choices
    A_k    network k of K
    l_k    log-likelihood of a chunk of clips under A_k, nats

The loop owns batches, processes, optimisers and the trace. A strategy samples the networks of each
chunk, weights them, and computes the gradients. The setting `search.strategy` selects it.
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

Forward = Callable[[], Tensor]  # computes the log-likelihood of one network, with its graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """The functions of a strategy; `scale` divides log-likelihoods before they are compared.

    propose          (prior, count, generator) -> networks sampled for a chunk
    weigh            (l_k (K,), scale) -> weights of the networks (K,), which sum to 1
    weight_gradient  (forwards, parameters, scale) -> ascent direction, a tensor for each
                     parameter, and l_k (K,); a chunk may be dealt over processes, so the
                     direction of some of its draws is the mean with their share of the weight.
                     A pass of several chunks uses `weigh` in its place: sum_k W_k grad l_k
    alpha_gradient   (prior, draws of each chunk, weights (C, K)) -> the clips' part of the ascent
                     direction, of the shape of alpha, summed over the chunks
    choose           (prior) -> the network that is derived after the search
    """

    propose: Callable[[Prior, int, torch.Generator], list[Draw]]
    weigh: Callable[[Tensor, float], Tensor]
    weight_gradient: Callable[
        [Iterable[Forward], Sequence[nn.Parameter], float], tuple[list[Tensor], Tensor]
    ]
    alpha_gradient: Callable[[Prior, Sequence[Sequence[Draw]], Tensor], Tensor]
    choose: Callable[[Prior], Draw]


def named(name: str) -> Strategy:
    """Imports a strategy by the name of its file in `strategies`, such as `parsec`.

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
    """The names of all strategies: the files of the folder `strategies`."""
    files = (Path(__file__).parent / "strategies").glob("*.py")
    return {path.stem for path in files} - {"__init__"}
