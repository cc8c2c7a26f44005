"""CUDA graphs: kernels that were launched one by one, launched all at once.

What uses one shows first that it computes the same: `training.graph`, `vision.learning.scoring`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Work = Callable[[], None]
Capture = Callable[[Work], Work]  # work -> what repeats it

WARM_UPS = 3  # calls before a capture, as torch's documentation asks for


def cuda_graph(work: Work) -> Work:
    """Captures a call as a CUDA graph; returns the function that replays it.

    It works on a copy of the generator's state, so that a capture that fails leaves the generator
    as it was. Calls of other threads, such as that which feeds the clips, are not captured.

    Raises:
        RuntimeError: the capture failed; torch.OutOfMemoryError if there is too little memory.
    """
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    before = generator.graphsafe_get_state()
    generator.graphsafe_set_state(generator.clone_state())
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    except RuntimeError:
        generator.graphsafe_set_state(before)
        raise
    return graph.replay
