"""The learning rate, the optimiser, accuracy and the training loop do what the papers say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autox3d.training.loop import NotFinite, Schedule, State, chunk_seed, train_steps
from autox3d.vision.clips.loader import Batch
from autox3d.vision.clips.normalise import normalise
from autox3d.vision.learning.schedule import cosine, scaled_rate, sgd, stepped
from autox3d.vision.learning.statistics import recalibrate_batch_norm
from autox3d.vision.tasks.classify import TASK


def test_the_rate_rises_linearly_and_falls_as_half_a_cosine():
    """A3D 5.1, worked by hand: 10 steps, 4 of warm-up, peak 1."""
    rates = [cosine(step, 10, 4, 1.0) for step in range(10)]
    reached = 0.5 * (1 + np.cos(np.pi * 0.4))

    np.testing.assert_allclose(rates[:4], [reached * k / 5 for k in (1, 2, 3, 4)])
    assert rates[4] == pytest.approx(reached)
    assert rates[5] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.5 * (1 + np.cos(np.pi * 0.9)))
    assert max(rates) == rates[4]


def test_the_rate_is_stated_for_256_clips():
    """0.4 for 256 is X3D's 1.6 for 1,024."""
    assert scaled_rate(0.4, 1024) == 1.6


def test_weight_decay_does_not_apply_to_batch_norm():
    """With zero gradients, one step shrinks only the convolution."""
    net = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4))
    before = [p.detach().clone() for p in net.parameters()]
    optimiser = sgd(net, 0.0, 0.1)
    for group in optimiser.param_groups:
        group["lr"] = 1.0
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)

    optimiser.step()

    after = list(net.parameters())
    torch.testing.assert_close(after[0].detach(), 0.9 * before[0])
    for k in (2, 3):
        assert torch.equal(after[k], before[k])


def test_accuracy_by_hand():
    """Three of four videos have labels: two correct at top-1, all at top-5; class 2 has none."""
    scores = np.array(
        [
            [0.9, 0.1, 0, 0, 0, 0],
            [0.2, 0.7, 0, 0, 0, 0.1],
            [0.4, 0.3, 0, 0, 0.1, 0.2],
            [0, 0, 1, 0, 0, 0],
        ]
    )

    labels = np.array([0, 1, 5, -1])

    measured = TASK.measure(scores, labels)
    assert list(measured) == [metric.name for metric in TASK.metrics]
    assert measured == {"top1": pytest.approx(2 / 3), "top5": 1.0, "mean": pytest.approx(5 / 6)}
    by_class = TASK.by_class(scores, labels)
    np.testing.assert_array_equal(by_class, [1, 1, np.nan, np.nan, np.nan, 0])


def test_equal_scores_go_to_the_lower_class():
    """A network with constant scores gets the share of class 0, not a random share."""
    measured = TASK.measure(np.zeros((4, 8)), np.array([0, 1, 2, 7]))

    assert (measured["top1"], measured["top5"]) == (0.25, 0.75)


def test_no_label_no_accuracy():
    """A test split without labels has scores, but no accuracy."""
    assert np.isnan(list(TASK.measure(np.ones((2, 3)), np.array([-1, -1])).values())).all()


def test_pixels_are_normalised_once():
    """(x/255 - 0.45)/0.225, channels first, laid out channels last."""
    clips = torch.randint(0, 256, (2, 3, 4, 5, 3), dtype=torch.uint8)

    found = normalise(clips)

    wanted = (clips.permute(0, 4, 1, 2, 3).double() / 255 - 0.45) / 0.225
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)


def made_batch(clips: Tensor, labels: Tensor, chunks: Sequence[int]) -> Batch:
    rows, sizes = torch.arange(len(labels)), [4] * len(chunks)
    return Batch(clips, labels, rows, chunks, sizes, [()] * len(labels))


def batches(epoch: int, start: int):
    """Three steps an epoch of 8 clips in 2 chunks: bright clips are class 1, dark ones class 0."""
    for step in range(start, 3):
        generator = torch.Generator().manual_seed(100 * epoch + step)
        labels = torch.randint(0, 2, (8,), generator=generator)
        noise = torch.randint(0, 100, (8, 2, 4, 4, 3), generator=generator)
        clips = (noise + 120 * labels[:, None, None, None, None]).to(torch.uint8)
        yield made_batch(clips, labels, range(2))


def new_state() -> State:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(3, 4, 1),
        nn.BatchNorm3d(4),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(128, 2),
        nn.Unflatten(1, (1, 2)),  # one position
    )
    return State(net, sgd(net, 0.9, 5e-5))


SCHEDULE = Schedule(seed=1, epochs=2, steps=3, warmup=1, peak=0.1, batch=8, chunk=4)


class World:
    """Processes as the loop sees them; `take` replaces the sum over processes."""

    def __init__(self, size: int, take: Callable[[list[Tensor]], None]) -> None:
        self.size, self.take, self.device = size, take, torch.device("cpu")

    overlaps = False

    def sum_(self, tensors: list[Tensor]) -> None:
        self.take(tensors)

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        raise NotImplementedError  # of a device that overlaps


ALONE = World(1, lambda tensors: None)


def test_training_learns():
    """The loss of a task that can be learned falls."""
    schedule = SCHEDULE._replace(epochs=15, peak=0.01)
    steps = list(train_steps(new_state(), TASK, schedule, batches, ALONE))

    assert len(steps) == 45
    assert np.mean([s.loss for s in steps[-6:]]) < 0.5 * np.mean([s.loss for s in steps[:3]])


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_run_resumes_from_any_step_with_the_same_bits(stop):
    """Saved after any step and loaded into a new state: weights, momentum, BN, dropout, sums."""
    whole = new_state()
    wanted = list(train_steps(whole, TASK, SCHEDULE, batches, ALONE))

    first = new_state()
    steps = train_steps(first, TASK, SCHEDULE, batches, ALONE)
    head = [next(steps) for _ in range(stop)]
    second = new_state()
    second.load_state_dict(first.state_dict())
    tail = list(train_steps(second, TASK, SCHEDULE, batches, ALONE))

    assert head + tail == wanted
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, second.net.state_dict()[name]), name


def test_two_halves_of_a_step_are_the_step():
    """Processes that share the chunks of a step and sum their gradients match one process."""
    whole = new_state()
    one = next(iter(train_steps(whole, TASK, SCHEDULE, batches, ALONE)))

    shares = [[], []]

    def half(rank: int):
        def only(epoch: int, start: int):
            for batch in batches(epoch, start):
                mine = slice(4 * rank, 4 * rank + 4)
                chunks = batch.chunks[rank : rank + 1]
                yield made_batch(batch.clips[mine], batch.labels[mine], chunks)

        return only

    for rank in (0, 1):
        keep = World(2, lambda tensors, to=shares[rank]: to.extend(t.clone() for t in tensors))
        next(iter(train_steps(new_state(), TASK, SCHEDULE, half(rank), keep)))
    sums = [a + b for a, b in zip(*shares, strict=True)]

    def take(tensors: list[Tensor]) -> None:
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total)

    other = new_state()
    two = next(iter(train_steps(other, TASK, SCHEDULE, half(0), World(2, take))))

    assert (one.loss, one.correct) == (pytest.approx(two.loss, rel=1e-12), two.correct)
    theirs = other.net.state_dict()
    for name, ours in whole.net.state_dict().items():  # running statistics are among them
        torch.testing.assert_close(ours, theirs[name], rtol=1e-6, atol=1e-7)


def test_dropout_is_drawn_by_seed_step_and_chunk():
    """No two of these combinations share their noise."""
    seeds = {chunk_seed(a, b, c) for a in range(4) for b in range(50) for c in range(50)}

    assert len(seeds) == 4 * 50 * 50


def test_a_loss_that_is_not_finite_stops_the_run():
    """The error names the step and the chunk; the weights are unchanged."""
    state = new_state()
    before = [p.detach().clone() for p in state.net.parameters()]

    seen = []

    def spoil_the_second(_module: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        seen.append(logits)
        return logits * float("nan") if len(seen) == 2 else logits

    state.net[4].register_forward_hook(spoil_the_second)  # type: ignore[index]
    with pytest.raises(NotFinite, match="the loss of step 0 is nan") as raised:
        next(iter(train_steps(state, TASK, SCHEDULE, batches, ALONE)))

    assert raised.value.chunks == [1]
    for old, new in zip(before, state.net.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_gradient_that_is_not_finite_stops_the_run():
    """The run stops although every loss is finite."""
    state = new_state()
    before = [p.detach().clone() for p in state.net.parameters()]
    state.net[0].bias.register_hook(lambda grad: grad * float("inf"))  # type: ignore[index]

    with pytest.raises(NotFinite, match=r"^the gradient of step 0 is not finite$"):
        next(iter(train_steps(state, TASK, SCHEDULE, batches, ALONE)))

    for old, new in zip(before, state.net.parameters(), strict=True):
        assert torch.equal(old, new)


def chunk_list(batch: Batch) -> list[tuple[int, Tensor, Tensor]]:
    """Chunks in any order, since each has its number."""
    parts = zip(batch.clips.split(4), batch.labels.split(4), strict=True)
    return [(n, normalise(clips), labels) for n, (clips, labels) in enumerate(parts)][::-1]


def test_recalibrated_statistics_are_those_of_all_clips():
    """Against a sum over every pixel in float64, up to n / (n - 1) within a chunk."""
    norm = nn.BatchNorm3d(3)
    recalibrate_batch_norm(nn.Sequential(norm), map(chunk_list, batches(0, 0)), 2, ALONE.sum_)

    pixels = torch.cat([normalise(batch.clips).double() for batch in batches(0, 0)])
    found = norm.state_dict()
    torch.testing.assert_close(found["running_mean"].double(), pixels.mean((0, 2, 3, 4)))
    spread = pixels.var((0, 2, 3, 4), correction=0)
    torch.testing.assert_close(found["running_var"].double(), spread, rtol=0.01, atol=0)
    assert (norm.momentum, found["num_batches_tracked"]) == (0.1, 0)


def test_recalibration_gives_the_same_bits_for_any_number_of_processes():
    """The moments of each chunk have a row of their own, and sums with zeros are exact."""

    def settled(share: slice, take: Callable[[list[Tensor]], None]) -> dict[str, Tensor]:
        net = new_state().net
        recalibrate_batch_norm(net, (chunk_list(batch)[share] for batch in batches(0, 0)), 2, take)
        return net.state_dict()

    first: list[Tensor] = []
    settled(slice(0, 1), lambda tensors: first.extend(t.clone() for t in tensors))
    theirs = iter(first)

    def add(tensors: list[Tensor]) -> None:
        for tensor in tensors:
            tensor += next(theirs)

    one, two = settled(slice(0, 2), ALONE.sum_), settled(slice(1, 2), add)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_by_steps_the_rate_falls_to_a_tenth_at_each_drop():
    """SlowFast's 41 and 49 of 57 epochs are shares 0.72 and 0.86; the warm-up rises to the peak."""
    rates = [stepped(step, 100, 4, 1.0, (0.72, 0.86)) for step in range(100)]

    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[71:73] == pytest.approx([1.0, 0.1])
    assert rates[85:87] == pytest.approx([0.1, 0.01])
    assert rates[99] == pytest.approx(0.01)
    one = Schedule(1, 10, 10, 4, 1.0, 8, 8, drops=(0.72, 0.86))
    assert [one.rate(step) for step in range(100)] == rates
