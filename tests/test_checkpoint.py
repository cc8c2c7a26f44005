"""Checkpoints survive power cuts, bad disks, full disks and second jobs."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import torch
from support.disk import SmallDisk

from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.core.schema import Added
from autox3d.runtime import checkpoint, lock
from autox3d.runtime.checkpoint import Checkpoints, fingerprint, folder, stop_requested
from autox3d.runtime.lock import Locked


def state(step: int) -> dict[str, object]:
    """A state as a training loop has it: weights, optimiser state and plain data."""
    generator = torch.Generator().manual_seed(step)
    return {
        "net": {"weight": torch.randn(8, 4, generator=generator)},
        "optimiser": {"state": {0: {"momentum": torch.full((3,), float(step))}}, "groups": [1]},
        "epoch": step // 10,
        "history": [{"loss": 1 / (step + 1)}],
        "random": generator.get_state(),
    }


def same(found: dict[str, object] | None, step: int) -> bool:
    """Whether two states are equal bit for bit."""
    wanted = state(step)
    return found is not None and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b
        for a, b in zip(leaves(found), leaves(wanted), strict=True)
    )


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Checkpoints]:
    with Checkpoints(tmp_path / "run") as kept:
        yield kept


def test_the_newest_comes_back_bit_for_bit_and_the_last_three_stay(kept: Checkpoints) -> None:
    """The best checkpoint also stays, however old it is."""
    assert kept.newest() is None
    for step in (0, 5, 10, 15, 20):
        kept.save(step, state(step), best=step == 5)

    found = kept.newest()
    assert found is not None
    assert found[0] == 20
    assert same(found[1], 20)
    assert same(kept.best(), 5)
    names = sorted(path.name for path in kept.folder.glob("*.ckpt"))
    assert names == [
        "best.ckpt",
        "step-000000010.ckpt",
        "step-000000015.ckpt",
        "step-000000020.ckpt",
    ]


def test_every_flipped_bit_and_every_cut_is_noticed_and_the_one_before_is_taken(
    kept: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    """50 flips anywhere in the file, 10 truncations, and an empty file."""
    for step in (1, 2):
        kept.save(step, state(step))
    newest = kept.folder / "step-000000002.ckpt"
    whole = newest.read_bytes()
    chance = random.Random(1)
    flips = []
    for bit in chance.sample(range(8 * len(whole)), 50):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        flips.append(bytes(spoilt))
    cuts = [whole[: chance.randrange(len(whole))] for _ in range(10)]
    for spoilt in [*flips, *cuts, b""]:
        newest.write_bytes(spoilt)
        found = kept.newest()
        assert found is not None
        assert found[0] == 1
        assert same(found[1], 1)
        assert capsys.readouterr().err == (
            f"{newest}: damaged: its SHA-256 does not match. Using the one before.\n"
        )


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_over(kept: Checkpoints) -> None:
    """The user decides whether to start over, not the program."""
    for step in (1, 2):
        kept.save(step, state(step))
        (kept.folder / f"step-{step:09d}.ckpt").write_bytes(b"")

    message = (
        f"{kept.folder}: none of its 2 checkpoints is intact. Delete the folder to start over."
    )
    with pytest.raises(Refused, match=f"^{re.escape(message)}$"):
        kept.newest()


def test_what_could_not_be_read_back_is_not_written(kept: Checkpoints) -> None:
    """The error names the place in the state."""
    with pytest.raises(TypeError, match=r"^state\['path'\] is a PosixPath: save tensors and plain"):
        kept.save(1, {"path": Path("x")})
    assert kept.newest() is None


def test_another_commit_resumes_with_a_warning(
    kept: Checkpoints, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code may change during a run, but not silently."""
    monkeypatch.setattr(checkpoint, "head", lambda: "a" * 40)
    kept.save(1, state(1))
    monkeypatch.setattr(checkpoint, "head", lambda: "b" * 40)

    assert kept.newest() is not None
    assert capsys.readouterr().err == (
        f"{kept.folder}/step-000000001.ckpt: "
        "made at commit aaaaaaaaaaaa, resumed at bbbbbbbbbbbb.\n"
    )


def rewritten(path: Path, number: int, names: Callable[[str], str]) -> None:
    """Rewrites a checkpoint as another version would, with a matching digest."""
    _, line, body = path.read_bytes().split(b"\n", 2)
    about = json.loads(line) | {"format": number}
    content = torch.load(io.BytesIO(body), weights_only=True)
    content["net"] = {names(name): tensor for name, tensor in content["net"].items()}
    file = io.BytesIO()
    torch.save(content, file)
    data = json.dumps(about).encode() + b"\n" + file.getvalue()
    path.write_bytes(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def test_format_1_is_read_with_the_current_names_of_layers(kept: Checkpoints) -> None:
    """`look` is renamed only as the whole name of a layer, not as a part of another name."""
    names = ["blocks.0.depthwise.conv.weight", "blocks.0.depthwise.t3_s3.norm.bias", "outlook.bias"]
    net = {name: torch.full((2,), float(place)) for place, name in enumerate(names)}
    kept.save(1, {"net": net, "optimiser": {"state": {0: {"momentum": torch.ones(2)}}}})
    path = kept.folder / "step-000000001.ckpt"
    assert json.loads(path.read_bytes().split(b"\n")[1])["format"] == 2
    rewritten(path, 1, lambda name: name.replace(".depthwise.", ".look."))
    assert b"blocks.0.look.conv.weight" in path.read_bytes()

    found = kept.newest()

    assert found is not None
    assert found[1]["net"].keys() == net.keys()
    assert all(torch.equal(found[1]["net"][name], net[name]) for name in names)
    assert list(found[1]["optimiser"]["state"]) == [0]


def test_a_format_of_a_later_version_is_refused(kept: Checkpoints) -> None:
    """It is not skipped, since the run would silently go back to an earlier step."""
    for step in (1, 2):
        kept.save(step, state(step))
    path = kept.folder / "step-000000002.ckpt"
    rewritten(path, 3, str)

    message = f"{path}: has format 3, and this version reads 1 and 2. Update autox3d."
    with pytest.raises(Refused, match=f"^{re.escape(message)}$"):
        kept.newest()


def test_a_full_disk_keeps_the_last_checkpoint(
    kept: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one line, no partial file is left, and saving works once there is space."""
    kept.save(1, state(1))
    sync = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = (
        f"{kept.folder}: no room for step 2; step 1 is kept, and the run resumes there. "
        "Free some space and run again."
    )
    with pytest.raises(Refused, match=f"^{re.escape(message)}$"):
        kept.save(2, state(2))
    assert not list(kept.folder.glob("*.part"))
    found = kept.newest()
    assert found is not None
    assert same(found[1], 1)
    monkeypatch.setattr(os, "fsync", sync)
    kept.save(2, state(2))
    found = kept.newest()
    assert found is not None
    assert found[0] == 2


@pytest.mark.system
def test_a_really_full_disk_keeps_the_last_checkpoint(small_disk: SmallDisk) -> None:
    """As above, on a file system with space for two; the third is saved once there is space."""
    disk = small_disk(256)
    with Checkpoints(disk / "run") as kept:
        large = {"x": torch.arange(25_000.0)}
        (disk / "other").write_bytes(bytes(100_000))
        kept.save(1, large)
        with pytest.raises(Refused, match="no room for step 2; step 1 is kept"):
            kept.save(2, large)
        assert not list(kept.folder.glob("*.part"))
        (disk / "other").unlink()
        kept.save(2, large)
        found = kept.newest()
    assert found is not None
    assert found[0] == 2
    assert torch.equal(found[1]["x"], large["x"])


WRITER = """
import sys
from pathlib import Path
import torch
from autox3d.runtime.checkpoint import Checkpoints
torch.set_num_threads(1)
with Checkpoints(Path(sys.argv[1])) as kept:
    found = kept.newest()
    step = found[0] if found else 0
    assert found is None or bool((found[1]["x"] == step).all())
    print("from", step, flush=True)
    while True:
        step += 1
        kept.save(step, {"x": torch.full((50_000,), float(step))})
        print(step, flush=True)
"""


def test_a_kill_inside_the_writing_loses_nothing(tmp_path: Path) -> None:
    """After kill -9 at any moment, all that was reported as saved is there, without repair."""
    announced = 0
    for pause in (0.0, 0.005, 0.01):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        begun = int(writer.stdout.readline().split()[1])
        assert begun >= announced
        for _ in range(3):
            announced = int(writer.stdout.readline())
        time.sleep(pause)
        writer.kill()
        output = writer.communicate()[0].split()
        announced = int(output[-1]) if output else announced
    with Checkpoints(tmp_path) as kept:
        found = kept.newest()
    assert found is not None
    assert found[0] >= announced
    assert not list(tmp_path.glob("*.part"))


def test_two_jobs_never_write_one_run(kept: Checkpoints) -> None:
    """The second job's message names the first one; when that has ended, the second works."""
    second = textwrap.dedent(
        f"""
        from pathlib import Path
        from autox3d.runtime.checkpoint import Checkpoints
        with Checkpoints(Path({str(kept.folder)!r})):
            pass
        """
    )
    run = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True)

    assert run.returncode == 1
    assert f"claim.json: process {os.getpid()} on " in run.stderr
    assert " is at work. Wait for it, or stop it." in run.stderr
    kept.__exit__()
    assert subprocess.run([sys.executable, "-c", second]).returncode == 0


def test_a_lock_of_another_machine_is_taken_over_once_its_heartbeat_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock is watched, so no clocks are compared; one with a heartbeat is respected."""
    monkeypatch.setattr(lock, "STALE_AFTER", 0.5)
    path = tmp_path / "claim.json"
    path.write_text(json.dumps({"token": "x", "host": "n7", "pid": 1, "started": "1"}))
    os.utime(path, (0, 0))
    ours = lock.Lock(path)
    assert ours.acquire()
    assert capsys.readouterr().err == f"{path}: waiting 0 s for a heartbeat of process 1 on n7\n"
    ours.check_held()

    path.write_text(json.dumps({"token": "y", "host": "n7", "pid": 1, "started": "1"}))
    with pytest.raises(Locked, match="process 1 on n7 has taken over"):
        ours.check_held()
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock.socket, "gethostname", lambda: "n8")
    theirs = lock.Lock(tmp_path / "beating.json")
    theirs.acquire()
    monkeypatch.setattr(lock.socket, "gethostname", lambda: "n9")
    with pytest.raises(Locked, match="on n8 is at work"):
        lock.Lock(tmp_path / "beating.json").acquire()
    theirs.release()


def test_only_the_first_rank_writes_and_all_receive_sigterm(tmp_path: Path) -> None:
    """The loop sees the flag at its next step; afterwards the old handler is restored."""
    before = signal.getsignal(signal.SIGTERM)
    with Checkpoints(tmp_path / "run", writes=False) as kept:
        kept.save(1, state(1))
        assert not stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_requested()
    assert signal.getsignal(signal.SIGTERM) == before
    assert not (tmp_path / "run").exists()


def test_ctrl_c_saves_and_a_second_one_does_not_wait(tmp_path: Path) -> None:
    """The first Ctrl-C requests a stop, as SIGTERM does."""
    with Checkpoints(tmp_path, writes=False):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop_requested()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@dataclass(frozen=True)
class Numbers:
    """Settings for a fingerprint."""

    lr: float
    sizes: tuple[int, ...]


def test_a_fingerprint_covers_everything_that_determines_the_result(tmp_path: Path) -> None:
    """It covers settings and the content of files and folders, not their names or places."""
    table = tmp_path / "clips.parquet"
    table.write_bytes(b"clips")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "a").write_bytes(b"1")
    first = fingerprint(params=Numbers(0.1, (1, 2)), table=table, weights=weights)

    copy = tmp_path / "copy"
    copy.write_bytes(b"clips")
    assert fingerprint(params=Numbers(0.1, (1, 2)), table=copy, weights=weights) == first
    assert re.fullmatch("[0-9a-f]{16}", first)
    (weights / "a").write_bytes(b"2")
    others = {
        first,
        fingerprint(params=Numbers(0.1, (1, 2)), table=table, weights=weights),
        fingerprint(params=Numbers(0.2, (1, 2)), table=table, weights=weights),
        fingerprint(params=Numbers(0.1, (2, 1)), table=table, weights=weights),
        fingerprint(params=Numbers(0.1, (1, 2)), table=weights, weights=weights),
    }
    assert len(others) == 5
    assert folder("train", a=1).parts[0] == "checkpoints"
    assert folder("train", a=1).name == f"train-{fingerprint(a=1)}"


@schema.table
class Before:
    """Settings of an earlier version."""

    lr: float


@schema.table
class Now:
    """The same settings, with one that a later version added."""

    lr: float
    rate: Annotated[float, Added(0.0)]


def test_a_setting_that_was_added_later_keeps_the_fingerprint() -> None:
    """Only with the value that keeps the earlier behaviour, so old checkpoints are found."""
    before = fingerprint(params=Before(lr=0.1))

    assert fingerprint(params=Now(lr=0.1, rate=0.0)) == before
    assert fingerprint(params={"s": [Now(lr=0.1, rate=0.0)]}) == fingerprint(
        params={"s": [Before(lr=0.1)]}
    )
    assert fingerprint(params=Now(lr=0.1, rate=0.5)) != before
    assert fingerprint(params=Now(lr=0.2, rate=0.0)) != before
