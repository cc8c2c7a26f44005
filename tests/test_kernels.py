"""Kernels are chosen by a table, once for a run, and every one of them computes the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
import yaml
from support import ROOT, killing, spaces
from torch import Tensor

from autox3d import cli
from autox3d.core import settings
from autox3d.core.device_table import (
    REFERENCE,
    Choice,
    Device,
    DeviceTable,
    Kernels,
    Operation,
    Rates,
)
from autox3d.core.errors import Refused
from autox3d.planning import rates as machine
from autox3d.planning import tuning
from autox3d.runtime.session import session
from autox3d.runtime.timing import interleaved
from autox3d.training import run as training
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import choice, frames, trial
from autox3d.vision.kernels.cpu import WEIGHT_GRADIENTS
from autox3d.vision.kernels.depthwise import TRITON
from autox3d.vision.models.network import VideoNet, open_branches, set_training

CPU, LAST = torch.device("cpu"), torch.channels_last_3d
KINDS = [(t, s, stride) for t in (1, 3, 5) for s in (1, 3, 5) for stride in (1, 2)]


def row(use: str = "frames", **changed: Any) -> Choice:
    known: dict[str, Any] = {
        "kernel": "t3_s3",
        "stride": 1,
        "numbers": 1000,
        "ms": {REFERENCE: 2.0, use: 1.0},
    }
    return Choice(operation="weight_gradient", use=use, **(known | changed))


class Always(Kernels):
    """One kernel for everything, counted."""

    def __init__(self, use: str) -> None:
        super().__init__(use, ())
        self.use, self.asked = use, 0

    def chosen(self, operation: Operation, kernel: str, stride: int, numbers: int) -> str:
        self.asked += 1
        return self.use


# ---- what they compute


def slow(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The gradient of the weight by its definition: a sum of products for each tap, in float64."""
    times, space = weight.shape[2:4]
    padded = F.pad(x.double(), [space // 2] * 4 + [times // 2] * 2)
    length, height, width = grad.shape[2:]
    found = torch.zeros(weight.shape, dtype=torch.float64)
    for t in range(times):
        for i in range(space):
            for j in range(space):
                rows = padded[:, :, t : t + length, i : i + stride * height : stride]
                seen = rows[..., j : j + stride * width : stride]
                found[:, 0, t, i, j] = (seen * grad.double()).sum((0, 2, 3, 4))
    return found


def case(kind: tuple[int, int, int], clips: int, length: int) -> tuple[Tensor, Tensor, Tensor, int]:
    times, space, stride = kind
    torch.manual_seed(times + space)
    side = -(-9 // stride)
    x = torch.randn(clips, 12, length, 9, 9).contiguous(memory_format=LAST)
    grad = torch.randn(clips, 12, length, side, side).contiguous(memory_format=LAST)
    return grad, x, torch.ones(12, 1, times, space, space), stride


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", WEIGHT_GRADIENTS)
def test_every_kernel_is_the_gradient_by_definition(name):
    """Each size and stride, one clip and several, also of fewer frames than the kernel has."""
    for kind in KINDS:
        for clips, length in ((1, 5), (3, 5), (3, 2), (2, 1)):
            given = case(kind, clips, length)
            before = given[0].clone()
            assert off(WEIGHT_GRADIENTS[name](*given), slow(*given)) < 1e-6, (kind, clips, length)
            assert given[0].equal(before)  # what is passed in is not written to


def test_frames_of_two_clips_are_not_joined():
    """Two clips as if they were one: what the copy of the gradient is there to prevent."""
    grad, x, weight, stride = case((3, 3, 1), clips=2, length=4)
    one_grad, one_x = (
        one.transpose(1, 2).reshape(1, 8, 12, 9, 9).transpose(1, 2) for one in (grad, x)
    )
    found = frames.all_clips(one_grad, one_x, weight, stride)

    assert off(found, slow(grad, x, weight, stride)) > 0.01


def gradients(use: str, genotype: Genotype) -> tuple[list[Tensor], int]:
    """Of a whole network's loss, and how often a kernel was asked for."""
    torch.manual_seed(0)
    net = VideoNet(genotype, 3)
    set_training(net, bn_clips=4, dropout=0.0)
    open_branches(net, 0.5)
    clips = torch.randn(4, 3, 4, 32, 32)
    with choice.using_kernels(kernels := Always(use)):
        F.cross_entropy(net.train()(clips).mean(1), torch.arange(4) % 3).backward()
    return [one.grad for one in net.parameters() if one.grad is not None], kernels.asked


@pytest.fixture
def genotype(tmp_path: Path) -> Genotype:
    (tmp_path / "s.yaml").write_text(spaces.GENOTYPE)
    return Genotype.load(tmp_path / "s.yaml")


def test_a_network_has_the_same_gradients_by_every_kernel(genotype):
    """To 1e-5 of the whole, which is not to the bit: the choice is one of rounding."""
    wanted, asked = gradients(REFERENCE, genotype)
    flat = torch.cat([one.flatten() for one in wanted])
    for name in WEIGHT_GRADIENTS:
        found = torch.cat([one.flatten() for one in gradients(name, genotype)[0]])
        assert off(found, flat.double()) < 1e-5
        assert found.equal(flat) == (name == REFERENCE)
    assert asked == 2  # depthwise convolutions


# ---- how one is chosen


def test_the_row_nearest_in_size_counts():
    """By ratio; a kind of operation without a row takes the reference."""
    kernels = Kernels("t", [row("small", numbers=100), row("large", numbers=10_000)])
    found = {
        numbers: kernels.chosen("weight_gradient", "t3_s3", 1, numbers)
        for numbers in (1, 100, 999, 1000, 1001, 10**9)
    }

    assert list(found.values()) == ["small", "small", "small", "small", "large", "large"]
    assert kernels.chosen("forward", "t3_s3", 1, 100) == REFERENCE
    assert kernels.chosen("weight_gradient", "t5_s3", 1, 100) == REFERENCE
    assert kernels.chosen("weight_gradient", "t3_s3", 2, 100) == REFERENCE


def test_noise_does_not_move_a_choice():
    """A later kernel has to be over 10 % faster than the one that it replaces."""
    assert choice.best({"a": 1.0, "b": 0.91, "c": 0.95}) == "a"
    assert choice.best({"a": 1.0, "b": 0.89, "c": 0.85}) == "b"
    assert choice.best({"a": 1.0, "b": 0.89, "c": 0.5}) == "c"


def test_a_table_is_read_as_it_was_written(tmp_path):
    """With and without rows."""
    device = Device(name="a CPU", instructions="AVX2", threads=2, torch="2.13")
    for kernels in ((), (row(), row("frames of a clip", stride=2))):
        table = DeviceTable(device=device, rates=None, kernels=kernels)
        table.save(tmp_path / "t.yaml", "autox3d tune")
        assert DeviceTable.load(tmp_path / "t.yaml") == table


def test_the_packages_tables_are_of_kernels_that_exist():
    """Each chooses by its own times; no CPU with AVX-512 has one, so that no bit moves there."""
    tables, cpus = list(choice.TABLES.glob("*.yaml")), set(WEIGHT_GRADIENTS)
    for path in tables:
        found = DeviceTable.load(path)
        assert path.stem == f"{found.device.instructions}_{found.device.threads}"
        for one in found.kernels:
            assert next(iter(one.ms)) == REFERENCE
            rivals = {REFERENCE, TRITON} if found.device.instructions.startswith("sm_") else cpus
            assert set(one.ms) <= rivals
            assert one.use == choice.best(one.ms)

    assert sorted(path.stem for path in tables) == ["AVX2_1", "sm_90_1"]
    assert choice.packaged("sm_80", 1).name == REFERENCE
    assert choice.packaged("sm_90", 1).chosen("weight_gradient", "t3_s3", 1, 10**6) == TRITON
    assert choice.packaged("AVX512", 2).name == REFERENCE
    assert choice.packaged("AVX2", 8).chosen("weight_gradient", "t3_s3", 1, 10**6) == "frames"


# ---- that a run decides once


def ranks(rank: int = 0, of_rank_0: Kernels | None = None) -> Any:
    shared = of_rank_0.plain() if of_rank_0 else None
    return SimpleNamespace(rank=rank, device=CPU, share=lambda value: shared or value)


def written(path: Path, **changed: Any) -> Path:
    """A table for this device, or one that differs from it."""
    device = replace(choice.here(CPU), **changed)
    DeviceTable(device=device, rates=None, kernels=(row(),)).save(path, "autox3d tune")
    return path


def test_rank_0_decides_for_all(tmp_path):
    """Another rank takes its choice, and neither reads its own table nor names it."""
    first = Kernels("that of rank 0", [row("frames of a clip")])
    with choice.decided(ranks(1, first), tmp_path / "none.yaml", None) as found:
        assert found.plain() == first.plain()
        assert choice.in_use(CPU) is found
    assert choice.in_use(CPU) is not found


def test_a_run_takes_the_table_that_the_settings_name(tmp_path):
    """The model of the CPU may differ; a missing table stops the run."""
    path = written(tmp_path / "here.yaml", name="another model")
    with choice.decided(ranks(), path, None) as found:
        assert found.rows == (row(),)
        assert found.name.startswith(f"{path} (")
    with pytest.raises(Refused, match=r"none\.yaml: cannot be read"):
        choice.decided(ranks(), tmp_path / "none.yaml", None).__enter__()


@pytest.mark.parametrize(
    ("name", "value"), [("threads", 99), ("instructions", "sm_90"), ("torch", "1.0")]
)
def test_a_table_of_another_device_is_one_line(name, value, tmp_path, capsys):
    """The package's own is taken, and said to be."""
    path = written(tmp_path / "other.yaml", **{name: value})
    with choice.decided(ranks(), path, None) as found:
        own = found.name
    mine = getattr(choice.here(CPU), name)

    assert own == choice.in_use(CPU).name
    assert capsys.readouterr().err == (
        f"{path}: '{name}' is {value}, but here it is {mine}. Using the {own} table. "
        "Make one here: autox3d tune\n"
    )


def test_a_checkpoint_keeps_its_kernels(tmp_path):
    """Whatever the settings name by now; one of an earlier version was made by the reference."""
    path, kept = written(tmp_path / "here.yaml"), Kernels("kept", [row("frames of a clip")])
    with choice.decided(ranks(), path, {"kernels": kept.plain()}) as found:
        assert found.plain() == kept.plain()
    with choice.decided(ranks(), path, {"state": {}}) as found:
        assert (found.name, found.rows) == (REFERENCE, ())


def test_a_resumed_training_times_no_kernels_again(clips, tmp_path, monkeypatch):
    """Nor does one whose settings name a table: a clock is given to the first run alone."""
    folder = killing.fresh(clips, tmp_path / "run")
    monkeypatch.chdir(folder)
    genotype, recipe = Genotype.load(folder / "s.yaml"), settings.load().train["s"]
    recipe = replace(recipe, epochs=1, warmup=0, validate_every=1)
    table, clocks = written(tmp_path / "here.yaml"), []

    def tried(name: str, some: object, ranks: object, clock: object) -> Any:
        clocks.append(clock)
        return trial.tried(name, lambda: [], cast("trial.Ranks", ranks), None)

    monkeypatch.setattr(training, "tried", tried)
    for named in (None, None, table):
        about = {"params": {}, "data": folder / "clips.parquet", "tracked": False}
        about |= {"table": str(named)} if named else {}
        with session("train", "s", parts={"kind": 1}, **about) as work:
            known = training.TrainingClips.load(folder / "clips.parquet")
            training.train(genotype, known, recipe, work)

    assert clocks == [interleaved, None, None]


def test_the_stages_that_train_depend_on_the_table():
    """Those whose runs compute gradients, and no other."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    inputs = {name: one.get("do", one)["deps"] for name, one in stages.items()}
    asking = {name for name, deps in inputs.items() if "${device.table}" in deps}

    searches = {
        f"{part}{name}" for part in ("", "part_") for name in ("warmup", "search", "control")
    }
    assert asking == searches | {"candidate", "reduced", "train", "study"}


# ---- the command


def autox3d(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["autox3d", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_tune_writes_a_table_that_this_device_takes(tmp_path, monkeypatch, capsys):
    """Of every kernel that agrees; and it writes over none, since stages may depend on it."""
    rates = Rates(device="d", measured="m", train=1.0, forward=1.0, transcode=1.0, clips=1.0,
                  megabytes=1.0, cores=1, disk=1.0)  # fmt: skip

    def wrong(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        return 1.001 * frames.all_clips(grad, x, weight, stride)

    monkeypatch.setattr(machine, "measure", lambda *_: rates)
    monkeypatch.setattr(tuning, "SIZES", ((8, 2, 4),))
    monkeypatch.setitem(WEIGHT_GRADIENTS, "wrong", wrong)
    path, before = tmp_path / "here.yaml", torch.get_num_threads()
    words = "tune", "--params", ROOT / "params.yaml", "--out", path
    assert autox3d(monkeypatch, *words) == 0
    found, said = DeviceTable.load(path), capsys.readouterr().out.splitlines()

    assert (found.rates, found.device) == (rates, choice.here(CPU))
    assert {(one.kernel, one.stride) for one in found.kernels} == set(tuning.KINDS)
    assert all(list(one.ms) == list(WEIGHT_GRADIENTS)[:-1] for one in found.kernels)
    assert said[-1].startswith(f"{path}: ")
    with choice.decided(ranks(), path, None) as kernels:
        assert kernels.rows == found.kernels
    assert autox3d(monkeypatch, *words) == 1
    assert capsys.readouterr().err == (
        f"{path}: is there already, and stages may depend on it. Write another file.\n"
    )
    assert torch.get_num_threads() == before
