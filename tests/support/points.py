"""Points of a run at which it dies, is told to stop, or goes wrong; its environment names them.

A point is `kind:number`: at that occurrence of the kind in its process, counted from 1. Points of
POINT end in SIGKILL of the whole process group, as a power cut or a scheduler would have it.
"""

from __future__ import annotations

import functools
import json
import os
import pydoc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS: dict[str, list[tuple[str, str]]] = {
    "backward": [("torch.Tensor", "backward"), ("torch.autograd", "grad")],
    "update": [("torch.optim.SGD", "step")],
    "alpha": [("torch.optim.Adam", "step")],
    "turn": [("autox3d.vision.clips.order", "epoch_order")],
    "score": [("autox3d.vision.learning.scoring.Scorer", "_pass")],
    "settle": [("autox3d.vision.learning.statistics", "recalibrate_batch_norm")],
    "measured": [("autox3d.training.run.Training", "_validate")],
    "half": [("autox3d.runtime.checkpoint", "_write")],
    "synced": [("os", "fsync")],
    "linked": [("autox3d.runtime.checkpoint", "_link")],
    "named": [("autox3d.runtime.checkpoint", "_sync_folder")],
    "saved": [("autox3d.vision.models.weights", "save"), ("safetensors.torch", "save_file")],
    "loss": [("torch.nn.functional", "cross_entropy")],
}
AFTER = {"saved", "linked", "settle", "measured"}  # the call is done before the process dies


def arm() -> None:
    """Makes this process, and its group, die at POINT; COUNTS=file: only counts all occurrences.

    `half` dies with half of a checkpoint written. POISON=loss:number makes that loss a NaN,
    POISON=update:number a weight after that update, POISON=alpha:number moves alpha by a hair, in
    the rank AT alone; BEHIND hides the newest checkpoint from the rank AT. TERM=kind:number sends
    SIGTERM to TARGET and goes on.
    """
    watch = _Watch()
    for kind, places in KINDS.items():
        for owner, name in places:
            _patch(owner, name, functools.partial(watch.around, kind))
    if watch.here and os.environ.get("BEHIND"):
        _patch(
            "autox3d.runtime.checkpoint.Checkpoints", "_steps", lambda all_: lambda k: all_(k)[:-1]
        )
    if watch.here and (path := os.environ.get("COUNTS")):
        _at_exit(lambda: Path(path).write_text(json.dumps(watch.counts)))


class _Watch:
    """Counts all occurrences in this process, and acts at those that its environment names."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self.here = os.environ.get("RANK", "0") == os.environ.get("AT", "0")

    def met(self, variable: str, kind: str) -> bool:
        return self.here and os.environ.get(variable) == f"{kind}:{self.counts[kind]}"

    def around(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.counts[kind] += 1
            if self.met("TERM", kind):
                _terminate()
            dies = self.met("POINT", kind)
            if dies and kind == "half":
                path, data = args[:2]
                path.with_suffix(".part").write_bytes(data[: len(data) // 2])
            if dies and kind not in AFTER:
                _die()
            found = call(*args, **kwargs)
            if dies:
                _die()
            return _poisoned(kind, args, found) if self.met("POISON", kind) else found

        return counted


def _poisoned(kind: str, args: tuple[Any, ...], found: Any) -> Any:
    """A weight of the optimiser's is changed in place, a loss in what the call has found."""
    if kind not in ("update", "alpha"):
        return found * float("nan")
    weights = args[0].param_groups[0]["params"][0].data
    if kind == "update":
        weights.fill_(float("nan"))
    else:
        weights += 1e-12
    return found


def _patch(owner: str, name: str, change: Callable[[Callable[..., Any]], Any]) -> None:
    """Where a program has imported the function by its name, there too."""
    holder = pydoc.locate(owner)
    old = getattr(holder, name)
    new = change(old)
    setattr(holder, name, new)
    for user in [user for key, user in sys.modules.items() if key.startswith("autox3d.")]:
        if user.__dict__.get(name) is old:
            setattr(user, name, new)


def _die() -> None:
    Path("died").touch()
    os.killpg(0, signal.SIGKILL)
    signal.pause()


def _terminate() -> None:
    """SIGTERM, and another one at every write to the disk that follows."""

    def tell() -> None:
        for target in _targets():
            os.kill(target, signal.SIGTERM)

    def again(handle: int) -> None:
        tell()
        sync(handle)

    sync, os.fsync = os.fsync, again
    Path("told").touch()
    tell()


def _targets() -> list[int]:
    """TARGET: this rank, its launcher, or a launcher with all its ranks."""
    alone = os.environ.get("WORLD_SIZE") is None
    launcher = os.getpid() if alone else os.getppid()
    ranks = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    every = [launcher, *map(int, [] if alone else ranks)]
    return {"rank": [os.getpid()], "launcher": [launcher], "all": every}[os.environ["TARGET"]]


def _at_exit(do: Callable[[], object]) -> None:
    from autox3d.runtime import program

    run = program.run

    def last(main: Callable[[], Any]) -> None:
        try:
            run(main)
        finally:
            do()

    program.run = last  # type: ignore[assignment]
