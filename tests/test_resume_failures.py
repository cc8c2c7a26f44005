"""Runs with a loss that is not finite, a full disk, or another number of processes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import killing

from autox3d.core import tables

pytestmark = pytest.mark.timeout(600)


def finite(folder: Path, stage: str, net: str) -> bool:
    """Whether the weights of the newest checkpoint are finite."""
    path = max(folder.glob(f"checkpoints/{stage}-*/step-*.ckpt"))
    weights = killing.read(path)["state"][net].values()
    return all(bool(weight.isfinite().all()) for weight in weights)


def test_a_nan_in_one_process_stops_all_at_the_same_step(clips, runner, tmp_path):
    """Rank 1's chunk of the seventh step is NaN: its clips are named, and a rerun resumes."""
    folder = killing.fresh(clips, tmp_path / "run")
    status = runner.run("train", folder, 2, POISON="loss:7", AT="1")

    assert status == 1
    output = (folder / "log").read_text()
    kept = next(folder.glob("checkpoints/train-*")).relative_to(folder)
    line = (
        rf"{kept}/not-finite.txt: the loss of step 6 is nan, from (v\d\d), (v\d\d); "
        "step 6 is kept, and the run resumes there. "
        "Run again; if it happens again, look at these clips or lower the learning rate."
    )
    (first,) = re.findall(f"(?m)^{line}$", output)
    (second,) = re.findall(f"(?m)^rank 1: {line}$", output)
    assert first == second
    assert (folder / kept / "not-finite.txt").read_text().split() == list(first)
    order = killing.step_keys(folder, epoch=1, step=2)
    assert list(first) == order[2:], "the second of two chunks of two clips"
    assert killing.newest(folder, "train") == 6
    assert finite(folder, "train", "net")
    assert runner.run("train", folder, 2) == 0
    assert killing.newest(folder, "train") == 12


def test_a_nan_in_a_search_stops_it(clips, runner, tmp_path):
    """The NaN is in the warm-up; the message names the clips of both halves."""
    folder = killing.fresh(clips, tmp_path / "run")

    assert runner.run("warmup", folder, 1, POISON="loss:9") == 1
    output = (folder / "log").read_text()
    assert "the loss of step 2 is nan, from v" in output
    assert "step 2 is kept, and the run resumes there" in output
    named = next(folder.glob("checkpoints/warmup-*/not-finite.txt")).read_text().split()
    assert len(named) == 8
    assert finite(folder, "warmup", "supernet")


@pytest.mark.parametrize(
    ("stage", "place", "keys"),
    [("train", (0, 2), killing.step_keys), ("warmup", (1, 0), killing.search_keys)],
)
def test_weights_that_are_not_finite_are_never_saved(stage, place, keys, clips, runner, tmp_path):
    """The third update spoils one: the message names the clips of that step, not the next one's."""
    folder = killing.fresh(clips, tmp_path / "run")

    assert runner.run(stage, folder, POISON="update:3") == 1
    output = (folder / "log").read_text()
    assert "the weights after step 2 are not finite, from v" in output
    assert "step 2 is kept, and the run resumes there" in output
    named = next(folder.glob(f"checkpoints/{stage}-*/not-finite.txt")).read_text().split()
    assert named == keys(folder, *place)


@pytest.mark.parametrize("stage", ["train", pytest.param("warmup", marks=pytest.mark.long)])
def test_ranks_that_see_different_checkpoints_do_not_start(stage, clips, runner, tmp_path):
    """Rank 1 lacks the newest one: steps are not mixed, and the message says what to do."""
    folder = killing.fresh(clips, tmp_path / "run")
    assert runner.run(stage, folder, 2, POINT="update:3") == -9
    assert killing.newest(folder, stage) == 2

    assert runner.run(stage, folder, 2, BEHIND="yes", AT="1") == 1
    kept = next(folder.glob(f"checkpoints/{stage}-*")).relative_to(folder)
    line = (
        r"rank 0 of 2 \(\S+, pid \d+\): the newest checkpoint of rank 1 differs from rank 0's. "
        f"Run again, where all ranks see the same {kept}."
    )
    assert re.search(f"(?m)^{line}$", (folder / "log").read_text())
    assert killing.newest(folder, stage) == 2


def test_ranks_whose_alpha_drifts_apart_stop_at_the_end_of_the_epoch(clips, runner, tmp_path):
    """It drifts by 1e-12 in rank 1 after the last step of an epoch, which is not kept."""
    warm = killing.fresh(clips, tmp_path / "warm")
    runner.finish("warmup", warm)
    folder = killing.fresh(clips, tmp_path / "run", like=warm)

    assert runner.run("search", folder, 2, POISON="alpha:2", AT="1") == 1
    line = r"rank 0 of 2 \(\S+, pid \d+\): alpha of rank 1 differs from rank 0's\. Report"
    assert re.search(f"(?m)^{line}", (folder / "log").read_text())
    assert killing.newest(folder, "search") == 1


@pytest.mark.long
def test_two_processes_then_one_then_two(clips, runner, tmp_path):
    """They use the same clips, draws and dropout; losses are within 1e-5 of one process."""
    alone, mixed = (killing.fresh(clips, tmp_path / name) for name in ("alone", "mixed"))
    for stage in ("train", "warmup", "search"):
        runner.finish(stage, alone)
        if stage == "search":
            (mixed / "warmup.safetensors").unlink()
            (mixed / "warmup.safetensors").symlink_to(alone / "warmup.safetensors")
        assert runner.run(stage, mixed, 2, POINT="update:3") == -9
        assert runner.run(stage, mixed, 1, POINT="update:3") == -9
        runner.finish(stage, mixed, 2)

    for name in ("curve.csv", "warmup.csv", "trace.csv"):
        one, other = (pd.read_csv(at / name) for at in (alone, mixed))
        for column in one.filter(regex="loss"):
            np.testing.assert_allclose(other[column], one[column], rtol=1e-5, atol=0)
    curves = [pd.read_csv(at / "curve.csv") for at in (alone, mixed)]
    assert curves[0][["top1", "val_top1"]].equals(curves[1][["top1", "val_top1"]])
    one, other = (tables.read_table(at / "steps.parquet") for at in (alone, mixed))
    for column in ("loss", "alpha_loss"):
        np.testing.assert_allclose(other[column], one[column], rtol=1e-5, atol=0)
    assert other["drawn_gmacs"].equals(one["drawn_gmacs"])


@pytest.mark.system
def test_a_training_on_a_full_disk_goes_on_once_there_is_room(clips, runner, small_disk, tmp_path):
    """It ends with status 1 and a line, and later with the bits of a run that always had space."""
    disk = small_disk(1024)
    wanted = runner.finish("train", killing.fresh(clips, tmp_path / "whole"))
    folder = killing.fresh(clips, tmp_path / "run")
    (folder / "checkpoints").symlink_to(disk)
    size = max(path.stat().st_size for path in tmp_path.glob("whole/checkpoints/*/step-*.ckpt"))
    (disk / "other").write_bytes(bytes(2**20 - 4096 - int(2.5 * size)))

    assert runner.run("train", folder) == 1
    output = (folder / "log").read_text()
    assert re.search(
        r"no room for step \d+; step \d+ is kept, and the run resumes there. F", output
    )
    assert finite(folder, "train", "net")
    assert not list(disk.glob("*/*.part"))
    (disk / "other").unlink()
    assert runner.finish("train", folder) == wanted


@pytest.mark.long
def test_any_damage_of_the_newest_checkpoint_is_noticed(clips, runner, tmp_path):
    """With 50 flipped bits, truncated or empty, the one before is used, to the same bits."""
    folder = killing.fresh(clips, tmp_path / "run")
    wanted = runner.finish("train", folder)
    kept = next(folder.glob("checkpoints/train-*"))
    newest = max(kept.glob("step-*.ckpt"))
    whole = newest.read_bytes()
    chance = torch.Generator().manual_seed(1)
    spoilt = [bytearray(whole) for _ in range(50)]
    for number, data in enumerate(spoilt):
        bit = int(torch.randint(8 * len(whole), (), generator=chance))
        spoilt[number][bit // 8] = data[bit // 8] ^ 1 << bit % 8
    for data in [*spoilt, whole[: len(whole) // 2], b""]:
        newest.write_bytes(data)
        (folder / "log").unlink()
        assert runner.finish("train", folder) == wanted
        output = (folder / "log").read_text()
        line = f"{newest.relative_to(folder)}: damaged: its SHA-256 does not match. "
        assert f"{line}Using the one before.\n" in output
    for path in kept.glob("step-*.ckpt"):
        path.write_bytes(b"")
    assert runner.run("train", folder) == 1
    assert "none of its 3 checkpoints is intact" in (folder / "log").read_text()
