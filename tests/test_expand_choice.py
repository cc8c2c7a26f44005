"""Which candidate a step of an expansion takes, whether noise decided, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from support import ARCHITECTURES, ROOT

from autox3d.core import schema, settings
from autox3d.core.errors import Refused
from autox3d.core.values import NO_EXPANSION, Expand, Regularisation
from autox3d.sizing import steps
from autox3d.sizing.choice import CandidateRecord, StepChoice, Trained, contest
from autox3d.sizing.expansion import priced
from autox3d.vision.arch.genotype import Genotype

BASE = Genotype.load(ARCHITECTURES / "x2d.yaml")
PRICE = priced("gmacs", 400)
ASKED = NO_EXPANSION | {
    "base": {"x2d": {"of": "architectures/x2d.yaml", "stride": 16}},
    "path": {"step1": {"after": "x2d"}, "step2": {"after": "step1"}},
    "axes": ["fast", "temporal", "spatial", "depth", "width", "bottleneck"],
    "seeds": [1],
    "candidate": "s",
}


def expand(**changes) -> Expand:
    return schema.check(ASKED | changes, Expand, Path("params.yaml"), "expand")


def trained(hits: list[int], seed: int = 1, training: float = 0.9) -> Trained:
    """A candidate that is right on these videos."""
    value = sum(hits) / len(hits)
    told = tuple(map(bool, hits))
    return Trained(seed=seed, metric="top1", value=value, training=training, hits=told)


def test_noise_by_the_slow_way():
    """Three candidates, three seeds, 50 videos: the record against numpy, sum by sum."""
    rng = np.random.default_rng(1)
    shares = {"fast": 0.8, "depth": 0.5, "width": 0.3}
    hits = {axis: (rng.random((3, 50)) < share).astype(int) for axis, share in shares.items()}
    axis, found = contest(
        {a: [trained(row.tolist(), seed) for seed, row in enumerate(of)] for a, of in hits.items()}
    )

    means = {a: of.mean() for a, of in hits.items()}
    assert (axis, found.runner_up) == ("fast", "depth")
    assert found.lead == pytest.approx(means["fast"] - means["depth"])
    videos = [hits["fast"][:, v].mean() - hits["depth"][:, v].mean() for v in range(50)]
    seeds = [hits["fast"][s].mean() - hits["depth"][s].mean() for s in range(3)]
    of_videos = sum((d - sum(videos) / 50) ** 2 for d in videos) / 50 / 50
    of_seeds = sum((d - sum(seeds) / 3) ** 2 for d in seeds) / 2 / 3
    assert found.noise == pytest.approx((of_videos + of_seeds) ** 0.5)
    assert (found.counts, found.seeds) == ("videos and seeds", (0, 1, 2))
    beyond = means["fast"] - means["depth"] > 2 * (of_videos + of_seeds) ** 0.5
    assert found.decided == ("clips" if beyond else "noise")
    assert found.gap == pytest.approx(0.9 - means["fast"])


@pytest.mark.parametrize(("only", "decided"), [(14, "noise"), (16, "clips")])
def test_one_seed_counts_the_videos_alone(only, decided):
    """McNemar's variance: of 100 videos, `only` are right with the first and 6 with the other."""
    one = [1] * only + [0] * 6 + [1] * (100 - only - 6)
    two = [0] * only + [1] * 6 + [1] * (100 - only - 6)
    axis, found = contest({"depth": [trained(two)], "fast": [trained(one)]})

    lead = (only - 6) / 100
    assert axis == "fast"
    assert found.noise == pytest.approx((((only + 6) / 100 - lead**2) / 100) ** 0.5)
    assert (found.counts, found.decided) == ("videos", decided)


def test_what_is_no_share_of_videos_has_the_noise_of_seeds_or_none():
    """Without the answers to each video."""
    one, two = (replace(trained([1, 0]), value=value, hits=()) for value in (0.6, 0.5))
    assert contest({"fast": [one], "depth": [two]})[1].counts == "nothing"
    assert contest({"fast": [one], "depth": [two]})[1].decided == "noise"

    other = replace(one, value=0.7)
    found = contest({"fast": [one, other], "depth": [two, two]})[1]
    assert found.counts == "seeds"
    assert found.noise == pytest.approx((0.005 / 2) ** 0.5)


def test_equal_candidates_are_decided_by_noise_and_a_single_one_by_nothing():
    """The first axis wins; the lead and the noise of one with itself are 0."""
    axis, found = contest({"width": [trained([1, 0])], "depth": [trained([1, 0])]})
    assert (axis, found.lead, found.noise, found.decided) == ("width", 0.0, 0.0, "noise")

    axis, found = contest({"depth": [trained([1, 0])]})
    assert (axis, found.lead, found.runner_up, found.decided) == ("depth", None, None, "alone")


def choices(*axes: str, asked: Expand | None = None) -> list[StepChoice]:
    """Those of a path that takes these axes, each by the only record that has a training."""
    asked = asked or expand()
    found = [steps.begin(BASE, "x2d", 16, "gmacs", PRICE, 400)]
    for number, axis in enumerate(axes, 1):
        step, _ = steps.grow(BASE, found[-1], f"step{number}", asked, PRICE, 400)
        runs = {
            one: [CandidateRecord(trained=trained([one == axis, 0]), why="")]
            for one in step.candidates
        } | {one: [CandidateRecord(trained=None, why=why)] for one, why in step.absent.items()}
        found.append(steps.choose(step, found[-1].gaps, runs))
    return found


def test_a_path_takes_the_steps_that_expansion_itself_makes():
    """X2D, bottleneck, fast; an axis without a candidate says why, and the gaps are kept."""
    _, first, second = choices("bottleneck", "fast")

    assert [one.axis for one in (first, second)] == ["bottleneck", "fast"]
    assert first.price == pytest.approx(0.0410, abs=5e-5)
    assert second.price == pytest.approx(0.0802, abs=5e-5)
    one = "fast and temporal are one, where there is a single frame"
    assert (first.absent, second.absent) == ({"temporal": one}, {"temporal": one})
    assert second.gaps == pytest.approx((0.4, 0.4))
    assert first.contest
    assert first.contest.decided == "noise"  # two videos


def test_parameters_do_not_follow_the_frames_nor_the_crop():
    """With a budget in parameters these axes are free, and have no candidate."""
    found = steps.begin(BASE, "x2d", 16, "params", priced("params", 400), 400)
    step, made = steps.grow(
        BASE, found, "step1", expand(budget="params"), priced("params", 400), 400
    )

    assert set(made) == set(step.candidates) == {"depth", "width", "bottleneck"}
    assert step.absent["spatial"] == "the cost does not follow it"


def test_a_target_between_two_steps_is_met_by_the_next_one_reduced():
    """Along its own axis, or along all: each candidate is under the target."""
    path = choices("bottleneck", "fast", asked=expand(targets={"t": 0.06}))
    step, made = steps.contract(BASE, path, "t", expand(targets={"t": 0.0806}), PRICE, 400)
    assert (list(made), step.number) == (["last"], 2)
    assert step.candidates["last"].factors == path[2].factors

    every = ["last", "spatial", "depth", "width", "bottleneck"]
    asked = expand(targets={"t": 0.06}, contract=every)
    step, made = steps.contract(BASE, path, "t", asked, PRICE, 400)
    assert "bottleneck" in made
    assert all(PRICE(network) <= 0.06 for network in made.values())
    assert step.candidates.keys() | step.absent.keys() == set(every)


LEVELS = [
    {"step": 1, "batch": 2.0, "epochs": 0.5, "bn_clips": 16, "drop_connect": 0.0},
    {"step": 2, "batch": 1.0, "epochs": 1.0, "bn_clips": 8, "drop_connect": 0.1},
]


def test_levels_are_those_of_the_step_or_of_the_gaps():
    """And none where the settings have none."""
    steps_rule = expand(regularise={"rule": "steps", "most": None, "levels": LEVELS})
    gap_rule = expand(regularise={"rule": "gap", "most": 0.1, "levels": LEVELS})
    one, two = (Regularisation(**level) for level in LEVELS)

    assert steps.level_of(expand(), 1, ()) is None
    assert [steps.level_of(steps_rule, number, ()) for number in (1, 2, 3)] == [one, two, two]
    assert [steps.level_of(gap_rule, 2, (gap,)) for gap in (0.1, 0.11)] == [one, two]


REFUSED = {
    "target below the base": (
        {"targets": {"t": 0.01}},
        ("bottleneck",),
        "'expand.targets.t': the target 0.01 is below the base, which costs 0.02066. "
        "Change it, or the steps of expand.path.",
    ),
    "target above the path": (
        {"targets": {"t": 1}},
        ("bottleneck",),
        "'expand.targets.t': the target 1 is above the last step, which costs 0.041. "
        "Change it, or the steps of expand.path.",
    ),
    "memory": (
        {"memory_mb": 0.1},
        ("bottleneck",),
        "'expand.memory_mb': no candidate of step1 keeps within 0.1 MB; the smallest needs "
        "0.6774. Raise it.",
    ),
    "no axis": (
        {"axes": ["spatial"], "rate": 1.01},
        ("spatial",),
        "'expand.path.step1': no axis of spatial can multiply the cost by 1.01. Change expand.axes "
        "or rate.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_grown_or_met_has_its_line(case):
    """Before anything is trained, where that can be known."""
    changes, axes, line = REFUSED[case]
    asked = expand(**changes)
    with pytest.raises(Refused) as refused:
        steps.contract(BASE, choices(*axes, asked=asked), "t", asked, PRICE, 400)

    assert str(refused.value) == f"params.yaml: {line}"


STEP1 = {"step1": {"after": "x2d"}}
UNFIT = {
    "unknown axis": (
        {"axes": ["sideways"]},
        "'expand.axes', row 1 must be one of 'fast', 'temporal', 'spatial', 'depth', 'width' or "
        "'bottleneck', not 'sideways'.",
    ),
    "no base": (
        {"base": {}},
        "'expand.path': one base is needed, not 0. See 'expand.base'.",
    ),
    "whole numbers": (
        {"path": {1: {"after": "x2d"}}},
        "'expand.path': step 1 is named '1'. Name it step1.",
    ),
    "gap in the path": (
        {"path": STEP1 | {"step2": {"after": "x2d"}}},
        "'expand.path': step2 comes after step1, not after 'x2d'.",
    ),
    "no axes": ({"axes": []}, "'expand.axes': empty, and the path has steps. Add one."),
    "a seed twice": ({"seeds": [1, 1]}, "'expand.seeds': 1 is there twice. Delete one."),
    "rate": ({"rate": 1}, "'expand.rate' must be > 1.0, not 1."),
    "no table": (
        {"budget": "ms"},
        "'expand.latency': budget ms needs a latency table: make one with `autox3d profile`.",
    ),
    "useless table": (
        {"latency": "ms.yaml"},
        "'expand.latency': ms.yaml has no use with budget gmacs: write params/untimed.",
    ),
    "no recipe": (
        {"candidate": None},
        "'expand.candidate': null, and the path has steps. Name an entry of train.",
    ),
    "gap without a number": (
        {"regularise": {"rule": "gap", "most": None, "levels": []}},
        "'expand.regularise.most': rule gap needs a number, such as 0.05.",
    ),
    "number without a gap": (
        {"regularise": {"rule": "steps", "most": 0.1, "levels": []}},
        "'expand.regularise.most': 0.1 has no use with rule steps: write null.",
    ),
    "late levels": (
        {"regularise": {"rule": "steps", "most": None, "levels": LEVELS[1:]}},
        "'expand.regularise.levels': no level holds for step 1. Add one.",
    ),
    "target without a path": (
        {"path": {}, "targets": {"t": 1.0}},
        "'expand.targets': there is no path that could reach them. See 'expand.path'.",
    ),
    "contraction": (
        {"targets": {"t": 1.0}, "contract": ["spatial"]},
        "'expand.contract': the axis of the last step is always tried. Add last.",
    ),
    "unknown recipe": (
        {"candidate": "xl"},
        "'expand': candidate xl is no entry of train. Known: s, m, l, x3d_s, s_t1.",
    ),
    "taken name": (
        {"targets": {"s": 1.0}},
        "'expand': target s is a network of scale or baseline. Rename it.",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_settings_that_do_not_fit_have_their_line(tmp_path, case):
    """In the section `expand` of the shipped params.yaml, word for word."""
    changes, line = UNFIT[case]
    path, whole = tmp_path / "params.yaml", yaml.safe_load((ROOT / "params.yaml").read_text())
    assert whole["expand"] == NO_EXPANSION
    path.write_text(yaml.safe_dump(whole | {"expand": ASKED}, sort_keys=False))
    assert settings.load(path).expand == expand()
    path.write_text(yaml.safe_dump(whole | {"expand": ASKED | changes}, sort_keys=False))
    with pytest.raises(Refused) as refused:
        settings.load(path)

    assert str(refused.value) == f"{path}: {line}"


def test_a_file_without_the_section_is_told_what_to_write(tmp_path):
    """One line, in spite of the many settings: the empty section as JSON, which is YAML."""
    path, whole = tmp_path / "params.yaml", yaml.safe_load((ROOT / "params.yaml").read_text())
    del whole["expand"]
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(Refused, match=r"missing 'expand'\. Write \{.*\} there, or type") as refused:
        settings.load(path)

    line = str(refused.value)
    assert "\n" not in line
    path.write_text(path.read_text() + "expand: " + line[line.index("{") : line.rindex("}") + 1])
    assert settings.load(path).expand == schema.check(NO_EXPANSION, Expand, path)


def test_every_axis_may_be_taken():
    """Each choice of a first step has its own name and factors."""
    taken = [choices(axis)[1] for axis in ("fast", "spatial", "depth", "width", "bottleneck")]
    assert len({one.factors for one in taken}) == 5
    assert all(a != b for a, b in itertools.combinations([one.axis for one in taken], 2))
