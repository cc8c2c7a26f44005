"""The report's section about an expansion: what it draws and tabulates is what the files say."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure as Canvas
from support import expanded_folder, results_folder

from autox3d.core.errors import Refused
from autox3d.reporting import expanded, worth
from autox3d.reporting.expansion import expansion
from autox3d.reporting.layout import Figure, Section, Table
from autox3d.reporting.page import page, page_of
from autox3d.reporting.results import Results, read, settings_of
from autox3d.sizing.choice import Trained

AXES = {
    "step1": {"fast", "depth", "bottleneck"},
    "step2": {"fast", "depth", "bottleneck"},
    "small": {"depth", "bottleneck"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    results_folder.make(tmp_path)
    expanded_folder.make(tmp_path)
    return tmp_path


def results_of(root: Path) -> Results:
    with contextlib.chdir(root):
        return read(Path("results"), settings_of(Path("params.yaml")))


def tables(section: Section) -> dict[str, Table]:
    return {one.title: one for one in section.elements if isinstance(one, Table)}


def rows(section: Section, title: str) -> list[dict[str, str]]:
    table = tables(section)[title]
    return [dict(zip(table.head, row, strict=True)) for row in table.rows]


def values(root: Path, step: str, axis: str) -> list[float]:
    """The accuracies of a candidate with each seed, from its files alone."""
    files = sorted((root / "results/expand/trained" / step).glob(f"{axis}_*.json"))
    return [expanded_folder.content(path)["trained"]["value"] for path in files]


def test_every_candidate_that_was_trained_has_a_dot_and_each_choice_its_ring(root: Path) -> None:
    """Mean accuracy and cost of each, from the files; of a contraction along two axes as well."""
    section = expansion(results_of(root))
    (figure,) = (one for one in section.elements if isinstance(one, Figure))
    label = re.search(r'aria-label="([^"]*)"', figure.svg)
    assert label
    drawn = html.unescape(label[1]).partition(": ")[2].rstrip(".").split("; ")

    wanted = []
    for name, kind in (("step1", "steps"), ("step2", "steps"), ("small", "targets")):
        step = expanded_folder.content(root / f"results/expand/{kind}/{name}/step.json")
        chosen = "choices" if kind == "steps" else "selected"
        taken = expanded_folder.content(root / f"results/expand/{chosen}/{name}.json")
        for axis, candidate in step["candidates"].items():
            if not (found := values(root, name, axis)):
                continue  # the only candidate, which is not trained
            shown = step["grew"] if axis == "last" else axis
            end = ", taken" if candidate["factors"] == taken["factors"] else ""
            wanted.append(f"{name} {shown} {np.mean(found):.1%} at {candidate['price']:.3g}{end}")
    assert sorted(drawn) == sorted(wanted)
    assert {
        name: {text.split()[1] for text in wanted if text.startswith(name)} for name in AXES
    } == AXES
    assert sum(text.endswith("taken") for text in wanted) == 3
    for axis in ("fast", "depth", "bottleneck", "path", "taken", "guessing, 95 %"):
        assert f">{axis}<" in figure.svg


def test_the_table_of_choices_is_that_of_the_records(root: Path) -> None:
    """Axis, lead, noise, who decided, and the gap between the errors, in points of percent."""
    shown = rows(expansion(results_of(root)), "The choices")

    for row in shown:
        record = expanded_folder.content(root / f"results/expand/choices/{row['step']}.json")
        found = record["contest"]
        runs = {axis: np.mean(scores) for axis, scores in found["scores"].items()}
        best = max(runs, key=lambda axis: runs[axis])
        assert row["axis taken"] == record["axis"] == best
        assert row["cost"] == f"{record['price']:.4g} G"
        assert row["top-1, % (95 %)"].startswith(f"{100 * runs[best]:.1f} (")
        assert row["lead, points"] == f"{100 * (runs[best] - runs[row['next best']]):.1f}"
        assert row["noise"] == f"{100 * found['noise']:.1f}"
        assert row["decided by"] == ("clips" if found["lead"] > 2 * found["noise"] else "noise")
        assert row["gap, points"] == f"{100 * found['gap']:+.1f}" == "+5.0"
    assert [row["decided by"] for row in shown] == ["clips", "noise"]


def test_a_contraction_says_what_it_reduced_or_that_a_step_is_taken_as_it_is(root: Path) -> None:
    """Two targets: one between the steps, tried along several axes, and one that a step meets."""
    section = expansion(results_of(root))
    small, large = rows(section, "Contractions")

    assert (small["network"], small["target"]) == ("small", "0.06 G")
    assert re.fullmatch(r"step2, (depth|bottleneck) reduced", small["from"])
    assert small["decided by"] in ("clips", "noise")
    absent = {(row["step"], row["axis"]) for row in rows(section, "Axes without a candidate")}
    assert {("step1", "temporal"), ("small", "spatial"), ("large", "bottleneck")} <= absent
    assert (large["from"], large["decided by"]) == ("step2 as it is", "only candidate")
    assert float(small["cost"].split()[0]) <= 0.06


def test_intervals_by_the_slow_way() -> None:
    """Of one seed, Wilson's over the videos; of three, both sources of chance, sum by sum."""
    rng = np.random.default_rng(3)
    hits = rng.random((3, 40)) < 0.7
    runs = [
        Trained(seed=s, metric="top1", value=row.mean(), training=0.9, hits=tuple(map(bool, row)))
        for s, row in enumerate(hits)
    ]
    low, high = expanded.interval(runs) or (0, 0)
    by_video = hits.mean(0)
    of_videos = sum((v - by_video.mean()) ** 2 for v in by_video) / 40 / 40
    of_seeds = sum((row.mean() - hits.mean()) ** 2 for row in hits) / 2 / 3
    half = 1.959964 * (of_videos + of_seeds) ** 0.5
    assert (low, high) == pytest.approx((hits.mean() - half, hits.mean() + half), abs=1e-6)

    n, share, z = 40, hits[0].mean(), 1.959964
    centre, spread = share + z**2 / (2 * n), z * (share * (1 - share) / n + z**2 / 4 / n**2) ** 0.5
    ends = ((centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n))
    assert expanded.interval(runs[:1]) == pytest.approx(ends, abs=1e-6)
    assert expanded.interval([dataclasses.replace(runs[0], hits=())]) is None
    assert expanded.guessing(8, 96) == pytest.approx((0.059, 0.191), abs=5e-4)


def test_hours_are_those_of_all_trainings_on_all_devices(root: Path) -> None:
    """A quarter of an hour on two devices each; an axis without a candidate takes none."""
    section = expansion(results_of(root))
    trained = [
        path
        for path in (root / "results/expand/trained").rglob("*.json")
        if expanded_folder.content(path)["trained"]
    ]
    hours = 2 * 0.25 * len(trained)

    assert len(trained) == 2 * (3 + 3 + 2)
    assert f"{len(trained)} trainings took {hours:.3g} device-hours" in section.lead
    first, *_ = rows(section, "Device-hours, beside other ways")
    assert (first["way"], first["hours"]) == ("expansion", f"{hours:.3g}")


def test_the_search_and_random_networks_stand_beside_it(root: Path) -> None:
    """For the hours of either; without the study of random networks, it says so."""
    before = expansion(results_of(root))
    assert "Random networks trained for as long: not measured" in before.lead
    ways = [row["way"] for row in rows(before, "Device-hours, beside other ways")]
    assert ways == ["expansion", "expansion", "search"]

    random = (0.5, 0.6, 0.7, 0.8)
    results_folder.random_networks(root, random, hours=0.6)
    after = expansion(results_of(root))
    assert "not measured" not in after.lead
    found = {row["way"]: row for row in rows(after, "Device-hours, beside other ways")}
    count = 8.0 / (2 * 0.6)
    best, (low, high) = worth.best_of(random, count)
    row = found["random, expansion's hours"]
    assert row["of"] == f"best of {count:.1f}, from 4"
    assert (
        row["top-1, %, validation (95 %)"]
        == f"{100 * best:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    )
    short = found["random, search's hours"]["top-1, %, validation (95 %)"]
    assert short == "less than one training (1.2 h)"
    assert found["search"]["network"] == "s"
    assert found["search"]["test (95 %)"].startswith("9")


def test_an_expansion_that_is_not_asked_for_shows_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an earlier one has left its files; and a page of one network never does."""
    monkeypatch.setattr(Canvas, "savefig", lambda _, target, **__: target.write("<svg></svg>"))
    whole = page(results_of(root))
    assert 'id="expansion"' in whole
    assert "Expansion: From x2d, 2 of 2 steps" in whole
    assert 'id="expansion"' not in page_of(results_of(root), "s", "s")

    params = yaml.safe_load((root / "params.yaml").read_text())
    params["expand"] = expanded_folder.NO_EXPANSION
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    assert expansion(results_of(root)).is_empty
    assert "x2d" not in page(results_of(root)).split('id="data"')[0]


def test_what_is_not_there_yet_is_named_and_a_damaged_record_refused(root: Path) -> None:
    """After the first step alone, the section shows it."""
    folder = root / "results/expand"
    (folder / "choices/step2.json").unlink()
    for name in ("small", "large"):
        (folder / f"selected/{name}.json").unlink()
    section = expansion(results_of(root))
    assert section.missing == [
        f"results/expand/{name}.json"
        for name in ("choices/step2", "selected/small", "selected/large")
    ]
    assert [row["step"] for row in rows(section, "The choices")] == ["step1"]
    assert "1 of 2 steps: bottleneck." in section.lead

    (folder / "trained/step1/depth_2.json").write_text("{")
    with pytest.raises(Refused, match=r"depth_2\.json: not JSON .*`candidate@step1-depth-2` again"):
        results_of(root)
