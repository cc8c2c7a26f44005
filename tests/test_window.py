"""The most probable networks within a window of costs, against all networks of small spaces."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from support import ARCHITECTURES
from support.spaces import SPACE

from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Draw, Space
from autox3d.search.window import CLOSE, NoNetwork, descending, most_probable
from autox3d.vision.arch.cost import cost

CLASSES = 8
KINDS = ("random", "forbidden", "ties", "certain")


@pytest.fixture(scope="module", params=["tiny", "demo"])
def space(request, tmp_path_factory) -> Space:
    """64 networks of two groups, and 1,024 of four."""
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE)
    return Space.load(path if request.param == "tiny" else ARCHITECTURES / "space_demo.yaml")


def every(space: Space) -> list[Draw]:
    """All draws."""
    return list(itertools.product(*(range(len(choice.candidates)) for choice in space.choices)))


def logs_of(space: Space, kind: str, seed: int) -> list[list[float]]:
    """Log-probabilities of all candidates; at least one of each choice is allowed."""
    rng, rows = np.random.default_rng(seed), []
    for choice in space.choices:
        row = rng.normal(0, 8 if kind == "certain" else 1, len(choice.candidates))
        if kind == "ties":
            row = rng.integers(2, size=len(row)).astype(float)
        row -= np.log(np.exp(row).sum())
        if kind == "forbidden" and len(row) > 1 and rng.random() < 0.3:
            row[rng.integers(len(row))] = -np.inf
        rows.append(row.tolist())
    return rows


def log_of(logs: list[list[float]], draw: Draw) -> float:
    return sum(row[i] for row, i in zip(logs, draw, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_the_networks_of_a_window_come_in_order(space, kind, seed):
    """All of them, each once, the most probable first; none over or under the window."""
    rng, costs = np.random.default_rng(seed), SpaceCosts(space, CLASSES)
    logs = logs_of(space, kind, seed)
    known = {draw: costs.of(draw) for draw in every(space) if log_of(logs, draw) > -math.inf}
    for _ in range(4):
        least, most = sorted(rng.choice(list(known.values()), 2))  # the ends belong to the window
        wanted = {draw for draw, value in known.items() if least <= value <= most}
        found = list(descending(logs, costs, least, most))
        assert {draw for _, draw in found} == wanted
        assert len(found) == len(wanted)
        assert [log for log, _ in found] == pytest.approx([log_of(logs, draw) for _, draw in found])
        best = sorted((log_of(logs, draw) for draw in wanted), reverse=True)
        assert [log for log, _ in found] == pytest.approx(best, abs=1e-7)
        assert most_probable(logs, costs, least, most) == found[0][1]


def test_only_what_fits_into_memory_is_found(space):
    """At the median of the peaks, about half of the networks."""
    peaks = {draw: cost(space.genotype(draw, "one"), CLASSES).peak_bytes for draw in every(space)}
    cap = float(np.median(list(peaks.values())))
    costs = SpaceCosts(space, CLASSES, memory_mb=cap / 1e6)
    found = {draw for _, draw in descending(logs_of(space, "random", 1), costs, 0.0, 9.0)}

    assert found == {draw for draw, peak in peaks.items() if peak <= cap}


@pytest.mark.parametrize("kind", ["random", "forbidden"])
def test_an_empty_window_names_the_nearest_costs(space, kind):
    """Of networks that are allowed, below and above it; none is nearer than is said."""
    costs, logs = SpaceCosts(space, CLASSES), logs_of(space, kind, 3)
    known = sorted({costs.of(d) for d in every(space) if log_of(logs, d) > -math.inf})
    gaps = [(two - one, one, two) for one, two in itertools.pairwise(known)]
    _, one, two = max(gaps)
    windows = [
        (known[0] / 4, known[0] / 2, None, known[0]),
        ((3 * one + two) / 4, (one + 3 * two) / 4, one, two),
        (known[-1] * 2, known[-1] * 3, known[-1], None),
    ]
    for least, most, below, above in windows:
        with pytest.raises(NoNetwork) as empty:
            most_probable(logs, costs, least, most)
        assert empty.value.below == (below and pytest.approx(below, rel=CLOSE))
        assert empty.value.above == (above and pytest.approx(above, rel=CLOSE))
        assert {empty.value.below, empty.value.above} <= {None, *known}


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 8.0])
@pytest.mark.parametrize("target", [1.0, 2.0, 8.0])
def test_the_papers_space_takes_less_than_a_second(scale, target, paper):
    """Whether the mode is far over the window or far under it, and where all are equal."""
    space, costs = paper
    rng = np.random.default_rng(0)
    rows = [rng.normal(0, scale, len(choice.candidates)) for choice in space.choices]
    logs = [(row - np.log(np.exp(row).sum())).tolist() for row in rows]
    began = time.process_time()
    found = list(itertools.islice(descending(logs, costs, 0.9 * target, target), 17))

    assert time.process_time() - began < 1
    assert all(0.9 * target <= costs.of(draw) <= target for _, draw in found)
    assert len({draw for _, draw in found}) == 17


@pytest.fixture(scope="module")
def paper() -> tuple[Space, SpaceCosts]:
    """The paper's space and its costs."""
    space = Space.load(ARCHITECTURES / "space_autox3d.yaml")
    return space, SpaceCosts(space, 200)


def test_no_small_change_of_the_best_is_better(paper):
    """In the paper's space, where not all can be tried: one or two choices changed."""
    space, costs = paper
    rng = np.random.default_rng(1)
    rows = [rng.normal(0, 1, len(choice.candidates)) for choice in space.choices]
    logs = [(row - np.log(np.exp(row).sum())).tolist() for row in rows]
    best = most_probable(logs, costs, 1.8, 2.0)
    open_ = [n for n, choice in enumerate(space.choices) if len(choice.candidates) > 1]
    for one, two in itertools.combinations(open_, 2):
        for i, j in itertools.product(range(len(rows[one])), range(len(rows[two]))):
            draw = list(best)
            draw[one], draw[two] = i, j
            if log_of(logs, tuple(draw)) > log_of(logs, best) + 1e-6:
                assert not 1.8 <= costs.of(tuple(draw)) <= 2.0


def test_a_wide_window_has_the_mode():
    """Where the window binds nothing."""
    space = Space.load(ARCHITECTURES / "space_demo.yaml")
    costs, logs = SpaceCosts(space, CLASSES), logs_of(space, "random", 5)

    mode = tuple(int(np.argmax(row)) for row in logs)
    assert most_probable(logs, costs, 0.0, 1e9) == mode
