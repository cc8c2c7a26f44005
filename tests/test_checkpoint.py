"""Checkpoints survive bad disks, full disks and other versions; what is damaged is noticed."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.disk import SmallDisk
from support.states import same, state

from autox3d.core.errors import Refused
from autox3d.runtime import checkpoint
from autox3d.runtime.checkpoint import Checkpoints


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
