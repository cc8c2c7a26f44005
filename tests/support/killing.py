"""Real runs of train, warmup and search on 24 real videos, which die at the points of points.py."""

from __future__ import annotations

import hashlib
import importlib
import io
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import traceback
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from autox3d.core import tables
from autox3d.core.tables import HALVES
from autox3d.vision.clips.order import epoch_order
from autox3d.vision.clips.store import Clips
from support import ROOT, shards
from support.points import arm
from support.spaces import GENOTYPE, SPACE

FLAGS = {
    "train": "--network s --genotype s.yaml --clips clips.parquet --weights weights "
    "--curve curve.csv --made made.json",
    "warmup": "--space space.yaml --clips clips.parquet --weights warmup.safetensors "
    "--curve warmup.csv --made warmup_made.json",
    "evaluate": "--weights weights --clips clips.parquet --scores scores.parquet "
    "--metrics evaluate.json --confusion confusion.csv",
    "search": "--space space.yaml --clips clips.parquet --init warmup.safetensors "
    "--weights search.safetensors --alpha alpha.json --steps steps.parquet "
    "--trace trace.csv --made search_made.json",
    "control": "--space space.yaml --clips clips.parquet --init warmup.safetensors "
    "--alpha control/alpha.json --trace control/trace.csv --made control/made.json",
    "derive": "--space space.yaml --clips clips.parquet --alpha alpha.json "
    "--weights search.safetensors --genotype found.yaml "
    "--front front --report derive.json",
}
FLAGS |= {  # the same of a part of a search, beside the last one in the folder
    f"part_{stage}": f"--part sparse {FLAGS[stage]}" for stage in ("warmup", "search")
}
MADE = {
    "train": ["weights/weights.safetensors", "weights/model.json", "curve.csv"],
    "warmup": ["warmup.safetensors", "warmup.csv"],
    "evaluate": ["scores.parquet", "evaluate.json", "confusion.csv"],
    "search": ["search.safetensors", "alpha.json", "steps.parquet", "trace.csv"],
    "control": ["control/alpha.json", "control/trace.csv"],
    "derive": ["found.yaml", "derive.json", "front/0.001.yaml"],
}
MADE |= {f"part_{stage}": MADE[stage] for stage in ("warmup", "search")}
ENVIRONMENT = {
    "AUTOX3D_TRACKING": "off",
    "AUTOX3D_WORKERS": "1",
    "AUTOX3D_SAVE_EVERY": "0",  # s: after every step
    "OMP_NUM_THREADS": "1",
}
PROGRAMS = [f"autox3d.stages.{stage}" for stage in FLAGS]


def make_clips(folder: Path) -> None:
    """clips.parquet in it: 16 videos for training in two halves of 8, 8 for validation."""
    table = tables.read_table(shards.make(folder, 24))
    classes = tables.read_classes(folder / "clips.parquet")
    number = np.arange(len(table))
    table["split"] = np.where(number < 16, "train", "val")
    table["half"] = np.where(number % 2, "weights", "alpha")
    tables.write_table(table, folder / "clips.parquet", classes)


def lay_out(clips: Path, folder: Path) -> Path:
    """A folder where nothing has run: 3 epochs of 4 steps of 2 chunks of 2 clips, or of 2 steps."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/shards").symlink_to(clips / "shards")
    (folder / "clips.parquet").symlink_to(clips / "clips.parquet")
    (folder / "s.yaml").write_text(GENOTYPE)
    (folder / "space.yaml").write_text(SPACE)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    small = {"batch": 4, "bn_clips": 2, "dropout": 0.5}
    for section in (params["train"]["s"], params["supernet"]):
        section.update(small, sampling=section["sampling"] | {"jitter": [32, 40]})
    params["train"]["s"] |= {"epochs": 3, "warmup": 1, "bn_steps": 2}
    params["supernet"]["likelihood"]["clips"] = 2
    params["evaluate"] |= {"split": "val", "clips": [1, 3]}
    params["warmup"] |= {"epochs": 3, "draws": 2}
    params["search"] |= {"epochs": 3, "draws": 2, "alpha_draws": 3, "target": 0.0008}
    params["search"]["floor"] = None
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


def digests(folder: Path, stage: str) -> dict[str, str]:
    """SHA-256 of what a stage made, and of the whole state in its last and best checkpoints."""
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MADE[stage]}
    kept = next(folder.glob(f"checkpoints/{stage}-*"), None)
    if kept is None:  # `derive` has none, and `evaluate` none in the end
        return found
    for path in (max(kept.glob("step-*.ckpt")), *kept.glob("best.ckpt")):
        found[path.name] = _digest(read(path)["state"])
    return found


def read(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint holds, behind its two lines."""
    body = checkpoint.read_bytes().split(b"\n", 2)[2]
    return torch.load(io.BytesIO(body), weights_only=True)


def newest(folder: Path, stage: str) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    names = [path.stem for path in folder.glob(f"checkpoints/{stage}-*/step-*.ckpt")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def step_keys(folder: Path, epoch: int, step: int) -> list[str]:
    """The clips of a step of `train`, in the order of its chunks."""
    clips = Clips.load(folder / "clips.parquet", split="train")
    order = epoch_order(len(clips), 4, 1, epoch)[step]
    return [key.decode() for key in clips.keys[order].tolist()]


def search_keys(folder: Path, epoch: int, step: int) -> list[str]:
    """The clips of a step of `warmup` or `search`, those for the weights first."""
    keys = []
    for number, half in enumerate(HALVES):
        clips = Clips.load(folder / "clips.parquet", split="train", half=half)
        keys += clips.keys[epoch_order(len(clips), 4, len(HALVES) + number, epoch)[step]].tolist()
    return [key.decode() for key in keys]


def _digest(value: Any) -> str:
    digest = hashlib.sha256()

    def add(item: Any) -> None:
        if isinstance(item, dict):
            for key in item:
                add(key)
                add(item[key])
        elif isinstance(item, (list, tuple)):
            for part in item:
                add(part)
        elif isinstance(item, torch.Tensor):
            digest.update(f"{item.dtype} {tuple(item.shape)}".encode())
            digest.update(item.contiguous().numpy().tobytes())
        else:
            digest.update(repr(item).encode())

    add(value)
    return digest.hexdigest()


class Runner:
    """Starts the programs in forks of a process that has imported them: seconds fewer a run."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        # torch.optim imports torch._dynamo with its first optimizer: a second of each run
        self.context.set_forkserver_preload([__name__, "torch._dynamo", *PROGRAMS])
        with pytest.MonkeyPatch.context() as patch:  # Python 3.11 does not tell it sys.path
            patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
            for name, value in ENVIRONMENT.items():  # some are read when a module is imported
                patch.setenv(name, value)
            forkserver.ensure_running()

    def run(self, stage: str, folder: Path, processes: int = 1, **environment: str) -> int:
        """The exit status, negative for a signal; what was said is added to folder/log."""
        job = self.context.Process(target=_job, args=(stage, folder, processes, environment))
        job.start()
        job.join(120)
        if job.exitcode is None:
            os.killpg(job.pid or 0, signal.SIGKILL)
            pytest.fail(f"{stage} hangs:\n{(folder / 'log').read_text()}")
        return job.exitcode

    def finish(self, stage: str, folder: Path, processes: int = 1, **more: str) -> dict[str, str]:
        """Runs the stage to its end; the digests of what it made."""
        status = self.run(stage, folder, processes, **more)
        assert status == 0, (folder / "log").read_text()
        return digests(folder, stage)


def _job(stage: str, folder: Path, processes: int, environment: dict[str, str]) -> None:
    """Rank 0, which starts the others; all of them are one process group."""
    os.setsid()
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = sys.stderr = os.fdopen(log, "w", buffering=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # ENVIRONMENT anew: the fork server may be an earlier one, of another test
    os.environ.update(ENVIRONMENT | environment, GLOO_SOCKET_IFNAME="lo")
    if processes > 1:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        counts = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        os.environ.update(meeting, **counts, RANK="0")
    others = []
    for rank in range(1, processes):
        if (other := os.fork()) == 0:
            os.environ["RANK"] = str(rank)
            os._exit(_program(stage))
        others.append(other)
    statuses = [_program(stage)]
    statuses += [os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) for other in others]
    sys.exit(next(filter(None, statuses), 0))


def _program(stage: str) -> int:
    """As `python -m` would; its exit status."""
    from autox3d.runtime import program

    torch.set_num_threads(1)
    module = importlib.import_module(f"autox3d.stages.{stage}")
    sys.argv = [stage, *FLAGS[stage].split()]
    try:
        arm()
        program.run(module.main)
    except SystemExit as end:
        return int(end.code or 0)
    except Exception:  # noqa: BLE001  # to the log, as Python itself would
        traceback.print_exc()
        return 1


def fresh(clips: Path, at: Path, like: Path | None = None) -> Path:
    """A new folder, with the warmed-up weights of another one."""
    shutil.rmtree(at, ignore_errors=True)
    lay_out(clips, at)
    if like:
        (at / "warmup.safetensors").symlink_to(like / "warmup.safetensors")
    return at
