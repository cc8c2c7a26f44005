"""A pass of training may take several chunks, and may be replayed; neither changes the training.

No GPU is needed: what a capture gives is a function, and here it is one that is right or wrong.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from bench.counting import training_step
from support import spaces
from support.passes import CHUNK, CPU, chunks, new_net, new_passes, same, sums, trained
from torch import Tensor

from autox3d.training import run
from autox3d.training.graph import CAPTURED, PLAIN, choose
from autox3d.training.loop import State
from autox3d.training.passes import Pass, Passes, grouped
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.kernels import cpu, reference, using
from autox3d.vision.learning.capture import Work
from autox3d.vision.learning.noise import Noise
from autox3d.vision.learning.schedule import sgd
from autox3d.vision.models.blocks import DropConnect
from autox3d.vision.tasks.classify import TASK


@pytest.fixture
def genotype(tmp_path: Path) -> Genotype:
    path = tmp_path / "s.yaml"
    path.write_text(spaces.GENOTYPE)
    return Genotype.load(path)


@pytest.fixture(scope="module")
def plain_training(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("genotype") / "s.yaml"
    path.write_text(spaces.GENOTYPE)
    return trained(Genotype.load(path))


def test_a_captured_training_is_the_training_to_the_bit(genotype, plain_training):
    """Weights, statistics, losses; the smaller chunk is not replayed, and dropout has its seeds."""
    replays = []

    def counted(work: Work) -> Work:
        def replay() -> None:
            replays.append(1)
            work()

        return replay

    def take(passes: Passes, first: Pass) -> None:
        assert choose(passes, first, counted, lambda reason: [reason]) == ""
        replays.clear()

    steps, weights = trained(genotype, take)
    plain, others = plain_training

    assert len(replays) == 2 * 2 * 3
    assert steps == plain
    assert all(torch.equal(weights[name], others[name]) for name in others)


def wrong_loss(passes: Passes, work: Work) -> Work:
    def replay() -> None:
        work()
        passes._of_pass.mul_(1.001)

    return replay


def wrong_gradient(passes: Passes, work: Work) -> Work:
    def replay() -> None:
        work()
        passes.gradient[17] += 1e-6

    return replay


def wrong_statistic(passes: Passes, work: Work) -> Work:
    def replay() -> None:
        work()
        passes.flat[-1] *= 1.0001

    return replay


def wrong_input(passes: Passes, work: Work) -> Work:
    """It goes on with the clips of the capture."""
    _, clips, labels = chunks()[0]
    return lambda: passes.run(clips, labels)


def wrong_seed(passes: Passes, work: Work) -> Work:
    """Its dropout has the noise of the capture in every replay."""

    def replay() -> None:
        torch.manual_seed(5)
        work()

    return replay


def it_raises(passes: Passes, work: Work) -> Work:
    work()
    torch.manual_seed(7)
    raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def too_little_memory(passes: Passes, work: Work) -> Work:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def spoils_a_weight(passes: Passes, work: Work) -> Work:
    """A failure may leave anything behind."""
    with torch.no_grad():
        for tensor in (*passes.net.parameters(), *passes.net.buffers()):
            tensor.add_(1)
    raise RuntimeError("failed")


LOSERS = {
    wrong_loss: "the loss differs by ",
    wrong_gradient: "the gradient of ",
    wrong_statistic: "a running statistic differs by ",
    wrong_input: "the loss differs by ",
    wrong_seed: "the loss differs by ",
    it_raises: "its capture failed (operation not permitted when stream is capturing)",
    too_little_memory: "there is not enough memory for it",
    spoils_a_weight: "its capture failed (failed)",
}


@pytest.mark.parametrize("loser", LOSERS, ids=lambda loser: loser.__name__)
def test_a_wrong_graph_is_found_and_leaves_no_trace(loser, genotype, plain_training):
    """One line says why, and the training is the plain one to the bit."""
    reasons = []

    def take(passes: Passes, first: Pass) -> None:
        before = [t.clone() for t in (*passes.net.parameters(), *passes.net.buffers())]
        random = torch.get_rng_state()
        capture = functools.partial(loser, passes)
        reasons.append(choose(passes, first, capture, lambda reason: [reason]))
        after = [*passes.net.parameters(), *passes.net.buffers()]
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
        assert torch.equal(random, torch.get_rng_state())
        assert passes.replay is None

    steps, weights = trained(genotype, take)
    plain, others = plain_training

    assert len(reasons) == 1
    assert reasons[0].startswith(LOSERS[loser])
    assert "\n" not in reasons[0]
    assert steps == plain
    assert all(torch.equal(weights[name], others[name]) for name in others)


def test_one_process_that_cannot_is_enough(genotype):
    """Its reason is that of all, and nobody replays."""
    passes = new_passes(new_net(genotype))
    first = next(grouped(chunks(), CHUNK, int))

    reason = choose(passes, first, same, lambda own: [own, "there is not enough memory for it", ""])

    assert reason == "there is not enough memory for it"
    assert passes.replay is None


@pytest.mark.parametrize(("factor", "taken"), [(1.0, True), (30.0, False)])
def test_a_device_that_does_not_repeat_is_measured_by_itself(factor, taken, genotype, monkeypatch):
    """Plain passes that differ in the last bits allow a graph as much, and no more."""
    passes = new_passes(new_net(genotype, dropout=0.0, drop_connect=0.0))
    first, run_it = next(grouped(chunks(), CHUNK, int)), passes.run
    noise = torch.Generator().manual_seed(3)

    def noisy(size: float) -> None:
        passes.gradient.add_(torch.randn(passes.gradient.shape, generator=noise), alpha=size)
        passes._of_pass.mul_(1 + size * torch.rand(1, generator=noise).item())
        passes._running.flat.add_(torch.randn(passes._running.flat.shape, generator=noise) * size)

    def plain(clips: Tensor, labels: Tensor, reduction: object = None) -> None:
        run_it(clips, labels)
        noisy(1e-6)

    def capture(work: Work) -> Work:
        def replay() -> None:
            assert passes.replay is not None
            run_it(passes.replay.clips, passes.replay.labels)
            noisy(1e-6 * factor)

        return replay

    monkeypatch.setattr(passes, "run", plain)
    reason = choose(passes, first, capture, lambda own: [own])

    assert (reason == "") == taken, reason


def test_the_form_is_kept_and_not_tried_again(genotype, monkeypatch, capsys):
    """A run that could not capture goes on without; its checkpoint says so."""
    net = new_net(genotype)
    state = State(net, sgd(net, 0.9, 5e-5))
    work: Any = SimpleNamespace(
        state=state,
        genotype=genotype,
        world=SimpleNamespace(gather=lambda reason: [reason]),
        session=SimpleNamespace(writes=True),
    )
    passes, first = new_passes(net), next(grouped(chunks(), CHUNK, int))
    monkeypatch.setattr(run, "cuda_graph", functools.partial(it_raises, passes))
    run.Training._choose(work, passes, first)

    assert state.form == PLAIN
    line = "train s: no CUDA graph: its capture failed"
    assert capsys.readouterr().err.startswith(line)

    resumed = State(net, sgd(net, 0.9, 5e-5))
    resumed.load_state_dict(state.state_dict())
    work.state = resumed
    monkeypatch.setattr(run, "cuda_graph", same)
    run.Training._choose(work, passes, first)
    assert (resumed.form, passes.replay) == (PLAIN, None)

    resumed.form = None
    run.Training._choose(work, passes, first)
    assert resumed.form == CAPTURED
    assert passes.replay is not None


@pytest.mark.parametrize("backend", [cpu, reference], ids=["cpu", "reference"])
@pytest.mark.parametrize("size", [2 * CHUNK, 3 * CHUNK, 4 * CHUNK])
def test_several_chunks_a_pass_are_the_chunks(size, backend, genotype):
    """Gradient, statistics, losses, with dropout and drop-connect: to rounding, not to the bit."""
    with using(backend):
        wanted, counts = sums(genotype, CHUNK)
        found, others = sums(genotype, size)

    assert (found - wanted).norm() < 2e-6 * wanted.norm()
    torch.testing.assert_close(others, counts, rtol=1e-6, atol=0)


def test_a_network_sees_the_noise_of_its_chunk(genotype):
    """The numbers that torch would draw for each chunk alone, to the bit."""
    net = new_net(genotype)
    noise = Noise(net, 5, CPU)
    noise.draw([3, 2], [11, 12])

    with noise.given():
        drops = [layer for layer in net.modules() if isinstance(layer, DropConnect)]
        uniform, scale = [layer.uniform for layer in drops], net.head.dropout.scale
        for size, seed, rows in ((3, 11, slice(0, 3)), (2, 12, slice(3, 5))):
            torch.manual_seed(seed)
            for numbers in uniform:
                assert numbers is not None
                assert torch.equal(numbers[rows], torch.rand(size, 1, 1, 1, 1))
            ones = torch.ones(size, 1, net.head.classify.in_features)
            assert scale is not None
            assert torch.equal(scale[rows], F.dropout(ones, 0.5))
    assert [layer.uniform for layer in drops] == [None, None]
    assert net.head.dropout.scale is None


def test_a_smaller_chunk_has_a_pass_of_its_own():
    """Batch norm takes equal chunks together."""
    of = [
        (number, torch.zeros(size, 1), torch.zeros(size)) for number, size in enumerate([2, 2, 1])
    ]

    passes = list(grouped(of, 8, lambda number: 10 * number))

    assert [[number for number, _, _ in one.chunks] for one in passes] == [[0, 1], [2]]
    assert [list(one.seeds) for one in passes] == [[0, 10], [20]]


@pytest.mark.parametrize("size", [pytest.param(CHUNK, marks=pytest.mark.slow), 4 * CHUNK])
def test_the_compiler_takes_the_network_whole(size, genotype, monkeypatch):
    """No graph break, in training, of one chunk and of several; the same sums."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    net = new_net(genotype)
    passes = Passes(net, TASK, CPU, batch=8, chunk=CHUNK, size=size, compiled=True)
    passes.begin_step()
    for one in grouped(chunks(), size, lambda number: 100 + number):
        passes.take(one)

    with using(reference):
        wanted, _ = sums(genotype, size)
    assert (passes.flat - wanted).norm() < 2e-6 * wanted.norm()


def test_a_captured_step_launches_little_and_waits_once():
    """X3D-S in 8 chunks: at most 500 launches outside of the graphs, thousands inside."""
    found = training_step(captured=True)

    assert found.launches <= 500
    assert found.kept_out > 10_000
    assert found.waited == 1
