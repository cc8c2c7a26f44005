"""A search step needs the memory of training one network, not of K."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from autox3d.nets.network import VideoNet
from autox3d.nets.supernet import Supernet
from autox3d.search.parsec import log_likelihood, weight_gradient
from autox3d.space import Space, SpaceCosts

SPACE = Space.load(Path(__file__).parents[1] / "architectures/space_demo.yaml")


def peak(step: Callable[[], object]) -> int:
    """Most bytes alive at once of all that a step allocates."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as traced:
        kept = step()
    assert traced.profiler
    assert traced.profiler.kineto_results
    found: Any = traced.profiler.kineto_results.events()
    events = [event for event in found if event.name() == "[memory]"]
    alive = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    del kept
    return most


def test_a_step_takes_at_most_115_percent_of_the_largest_network_drawn():
    """Six draws one after another, against one training step of the costliest of them."""
    rng = random.Random(0)
    draws = [tuple(rng.randrange(len(c.candidates)) for c in SPACE.choices) for _ in range(6)]
    largest = max(draws, key=SpaceCosts(SPACE, 8).of)
    supernet = Supernet(SPACE, 8, 0.0, 8, "fair")
    clips, labels = torch.randn(8, 3, 8, 48, 48), torch.arange(8)

    def search() -> object:
        forwards = [
            lambda draw=draw: log_likelihood(supernet(clips, draw), labels) for draw in draws
        ]
        return weight_gradient(forwards, list(supernet.parameters()), 1.0)

    def train() -> object:
        net = VideoNet(SPACE.genotype(largest, "largest"), 8, 0.0, 8)
        F.cross_entropy(net(clips), labels).backward()
        return net

    assert peak(search) <= 1.15 * peak(train)
