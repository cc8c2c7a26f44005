"""What the report says about a search: its worth, what decided it, its findings, its sets."""

import itertools
import json
import re

import numpy as np
import pytest
from support import ARCHITECTURES, results_folder
from support.reports import figures, shown

from autox3d.reporting import findings, worth
from autox3d.reporting.patterns import rings_of
from autox3d.search.space import Space
from autox3d.vision.arch.genotype import Genotype

FOUND = Genotype.load(ARCHITECTURES / "autox3d_s.yaml")


@pytest.fixture
def results(tmp_path):
    results_folder.make(tmp_path)
    return tmp_path


def text_of(page):
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", "", page))


def test_the_best_of_n_is_that_of_all_n_tuples():
    """By enumeration of every way to draw 1, 2 or 3 of 4 networks, with replacement."""
    values = (0.5, 0.9, 0.6, 0.8)
    for count in (1, 2, 3):
        best = np.mean([max(drawn) for drawn in itertools.product(values, repeat=count)])
        assert worth.best_of(values, count)[0] == pytest.approx(best)


def test_the_interval_of_the_best_covers_as_often_as_it_says():
    """Of the best of 3 of 24 uniform networks, true 0.75, in 200 studies: 95 %, less what the
    bootstrap of so few loses."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        _, (low, high) = worth.best_of(tuple(rng.random(24)), 3)
        hits += low <= 0.75 <= high
    assert 175 <= hits <= 198


def test_the_first_screen_says_what_the_search_was_worth(results):
    """0.042 device-hours; a random network takes 2 x 0.007 h, so three could be trained."""
    results_folder.random_networks(results, [0.5, 0.6, 0.7, 0.8], 0.007)
    page = text_of(shown(results, drawn=False).split("<nav")[0])

    assert (
        "The search took 0.042 device-hours (warm-up 0.021, search 0.021; the null control" in page
    )
    best, (low, high) = worth.best_of((0.5, 0.6, 0.7, 0.8), 3)
    assert "In that time 3.0 random networks of its cost could be trained" in page
    assert f"expected at {100 * best:.1f} % (95 %: {100 * low:.1f} % to {100 * high:.1f} %)" in page
    assert "the network found 90.0 %" in page
    assert "that were trained: their best bounds it" not in page


def test_more_time_than_networks_is_said(results):
    """Eight could be trained, and four were: the best of these is a bound."""
    results_folder.random_networks(results, [0.5, 0.6, 0.7, 0.8], 0.0026)
    assert "More than the 4 that were trained: their best bounds it." in shown(results, drawn=False)


def test_a_search_shorter_than_one_training_is_compared_with_their_mean(results):
    """There is no best of half a network."""
    results_folder.random_networks(results, [0.5, 0.6, 0.7, 0.8], 0.042)
    page = shown(results, drawn=False)
    assert "That is 50 % of the time of one random network; the network found 90.0 %" in page
    assert "their mean 65.0 %" in page


def test_without_the_study_one_line_says_how_to_run_it(results):
    """With its hours, and with the entry if the settings have none."""
    page = text_of(shown(results, drawn=False).split("<nav")[0])
    line = "not measured; dvc repro study@random_networks"
    assert f"{line}, with its entry of params/studies in params.yaml." in page
    with (results / "params.yaml").open("a") as settings:
        settings.write("studies: {random_networks: {kind: random_networks}}\n")
    assert f"{line}. " in text_of(shown(results, drawn=False).split("<nav")[0])


def test_findings_of_the_paper_are_those_of_its_network():
    """What 5.4 observes, counted on the printed AutoX3D-S: the column that the report shows."""
    rows = findings.rows_of(FOUND)
    assert [one.counted(rows) for one in findings.FINDINGS] == [
        one.printed for one in findings.FINDINGS
    ]
    assert findings.first_is_wider(rows) == findings.WIDER_PRINTED
    assert [row.stage for row in rows] == [1, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4]


def test_findings_tell_what_no_group_could_take():
    """A space without kernels of 5 frames has not avoided them."""
    rows = findings.rows_of(FOUND)
    _, cells = findings.table(rows, [rows], {"kernel": {"t1_s3", "t3_s3"}})
    by_name = {row[0].split(" (")[0]: row[1:] for row in cells}

    assert by_name["kernel over 5 frames"] == ["1 of 11", "not in the space", ""]
    assert by_name["kernel over several frames, early half"] == ["4 of 6", "4 of 6", "67 %"]
    assert by_name["attention after it"] == ["1 of 11", "1 of 11", "9 %"]


def test_runners_up_are_read_as_they_are_written():
    """The texts of derive.json give the groups of the genotype."""
    rows = findings.rows_of(FOUND)
    assert findings.rows_of_record(FOUND.choices, rows) == rows


def test_the_page_shows_what_decided_and_what_a_probability_is_not(results):
    """States and t-values of the file, the threshold, and the line of the terminal."""
    page = shown(results)
    (svg,) = (svg for svg in figures(page) if "t-value of each choice" in svg)
    assert "decided from 2.90 on: 1 kernel: t3_s3 by clips, 6.5; 1 channels: 24 by budget" in svg
    said = text_of(page)
    assert "Clips decided 1 of 3, budget 1; 2 % under; control 0." in said
    assert "A probability is not a confidence" in said
    assert "The weights of other networks reach 2.24." in said


def test_attention_is_told_in_pairs(results):
    """Gain and t of each unit; a space without attention leaves no figure."""
    assert "group 1, glore +0.0400, t 4.0; group 3, glore -0.0040" in shown(results)
    path = results / "results/warmup_made.json"
    made = json.loads(path.read_text())
    del made["attention"]
    path.write_text(json.dumps(made))
    assert "Attention, in pairs" not in shown(results, drawn=False)


def test_columns_that_a_trace_has_are_drawn(results):
    """Budget, multiplier, noise and spread; a trace of an earlier version has none of them."""
    titles = ("Expected cost over the target", "The budget&#39;s multiplier", "Spread of the draws")
    page = shown(results, drawn=False)
    assert all(title in page for title in titles)
    path = results / "results/search/trace.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    kept = [n for n, name in enumerate(rows[0]) if name not in ("budget", "multiplier", "spread")]
    path.write_text("".join(",".join(row[n] for n in kept) + "\n" for row in rows))
    page = shown(results, drawn=False)
    assert not any(title in page for title in titles)


def test_the_fair_pattern_is_that_of_the_sets_in_use(results):
    """The rings of the paper's space: every part of a stage within one of each other part.

    12..28 in steps of 4 and 24..64 in steps of 8: the counts of docs/PAPER.md's reading.
    """
    space = Space.load(ARCHITECTURES / "space_autox3d.yaml")
    fair = {ring.title: ring.uses for ring in rings_of(space, "fair")}
    naive = {ring.title: ring.uses for ring in rings_of(space, "naive")}

    assert fair["channels, stage 1"] == [4, 4, 4, 4, 3, 3, 3]
    assert fair["channels, stage 2"] == [5, 4, 4, 4, 4, 4, 4, 4]
    assert naive["channels, stage 1"] == [5, 5, 5, 4, 3, 2, 1]
    assert [name for name in fair if name.startswith("channels")] == [
        f"channels, stage {stage}" for stage in (1, 2, 3, 4)
    ]
    assert all(max(uses) - min(uses) <= 1 for uses in fair.values())


def test_the_pattern_needs_its_space(results):
    """Drawn from the file that the settings name, by their selection; left out without it."""
    (svg,) = (svg for svg in figures(shown(results)) if "use each part of a shared kernel" in svg)
    assert "channels, stage 1: 2 1; expansion, group 1: 2 1." in svg
    (results / "space.yaml").unlink()
    assert "Which parts of a kernel" not in shown(results, drawn=False)
