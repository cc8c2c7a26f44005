"""What the studies of the search find: a record of each kind, and its section of the report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import ROOT, killing
from support.studies import SMALL, lay_out, study

from autox3d.core.errors import Refused
from autox3d.core.intervals import wilson
from autox3d.core.records import Provenance
from autox3d.core.search_records import StudyProvenance, StudyRecord, StudyRow
from autox3d.reporting.layout import Figure, Source, Table
from autox3d.reporting.page import page
from autox3d.reporting.published import KINETICS400
from autox3d.reporting.results import read
from autox3d.reporting.studies import elements as of_study
from autox3d.reporting.studies import studies
from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Space
from autox3d.studies import attention, kind, lab, ranking, seeds, trainings
from autox3d.studies.lab import Answers
from autox3d.vision.models import weights

pytestmark = pytest.mark.slow  # many searches and trainings of each kind

SPACES = {path.stem: Space.load(path) for path in (ROOT / "architectures").glob("space_*.yaml")}


@pytest.fixture(scope="module")
def done(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where every study has run, its records under results/studies."""
    folder = lay_out(clips, tmp_path_factory.mktemp("done"), SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in killing.ENVIRONMENT.items():
            patch.setenv(name, value)
        for name in SMALL:
            found, record = study(name)
            record.write(Path(f"results/studies/{name}.json"))
            StudyProvenance(runs=found.made).write(Path(f"results/studies/{name}_made.json"))
            assert StudyRecord.read(Path(f"results/studies/{name}.json")) == record
    return folder


def record_of(folder: Path, name: str) -> tuple[StudyRecord, dict[str, Provenance]]:
    """What a study has found, and the provenance of its runs."""
    results = folder / "results/studies"
    made = StudyProvenance.read(results / f"{name}_made.json").runs
    return StudyRecord.read(results / f"{name}.json"), made


def number(found: StudyRow | StudyRecord, name: str) -> float:
    """A number of a row or of a whole study, which must be there."""
    value = found.numbers[name]
    assert value is not None
    return value


def test_the_weight_of_the_cost_is_one_warm_up_and_a_search_for_each(done):
    """And what the record says of a search is what its files say."""
    record, made = record_of(done, "beta")

    assert [row.name for row in record.rows] == ["beta 0", "beta 0.5"]
    assert list(made) == ["warmup", "beta0", "beta0.5"]
    assert record.rows[1].series["gmacs by epoch"][-1] == record.rows[1].numbers["gmacs"]
    trace = (done / "out/beta/beta0.5/trace.csv").read_text().splitlines()
    last = dict(zip(trace[0].split(","), trace[-1].split(","), strict=True))
    assert float(last["mode_gmacs"]) == record.rows[1].numbers["gmacs"]
    assert float(last["loss"]) == record.rows[1].numbers["loss"]
    assert record.rows[0].numbers != record.rows[1].numbers


def test_targets_are_asked_for_in_four_forms(done):
    """Half-way from the cheapest to the median: a multiplier, a range, and two hinges."""
    record, _ = record_of(done, "targets")
    least, median = number(record, "cheapest_gmacs"), number(record, "median_gmacs")

    assert [row.name for row in record.rows] == [
        "dual 0.5",
        "range 0.5",
        "hinge 0.5",
        "plain 0.5",
    ]
    assert least < median
    for row in record.rows:
        target = number(row, "target_gmacs")
        assert target == pytest.approx((least + median) / 2, abs=1e-6)
        assert row.numbers["off_target"] == pytest.approx(number(row, "gmacs") / target - 1)


def test_budgets_are_three_targets_a_seed(done):
    """Each with the expected cost, the mode's, and that of the network in the window."""
    record, made = record_of(done, "budgets")
    shares = (0.25, 0.5, 0.75)

    assert [row.name for row in record.rows] == [f"seed 1, target {share}" for share in shares]
    assert {"seed1_warmup", "seed1_target0.25"} <= set(made)
    for row in record.rows:
        assert -0.7 <= number(row, "off_target") <= 0  # the window of this test
        expected = number(row, "expected_gmacs") / number(row, "target_gmacs") - 1
        assert number(row, "expected_off") == pytest.approx(expected)
        assert number(row, "window_nats") >= 0
    targets = [number(row, "target_gmacs") for row in record.rows]
    assert number(record, "cheapest_gmacs") < targets[0] < targets[1] < targets[2]


def test_naive_and_fair_have_a_warm_up_each_and_share_a_target(done):
    """A curve an epoch, how often parts are used, and each network trained."""
    record, made = record_of(done, "channels")
    rows = {row.name: row for row in record.rows}

    assert list(rows) == ["naive", "fair"]
    assert all(len(row.series["gmacs by epoch"]) == 1 for row in record.rows)
    # 8 and 16 of 16 channels: by prefixes the first part serves both; taken fairly, so it must, too
    assert rows["naive"].series["uses of channels, group 1"] == (2, 1)
    assert {"naive_warmup", "fair_warmup", "train_naive", "train_fair"} <= set(made)
    for row in record.rows:
        assert 0 <= number(row, "top1") <= 1


def test_attention_stands_beside_none_and_beside_units_by_hand(done):
    """Six networks, each trained; of the searched one the probability of each block's unit."""
    record, _ = record_of(done, "attention")

    assert [row.name for row in record.rows] == ["without", *attention.MANUAL, "searched"]
    assert record.rows[-1].series["block"][0] == 1
    costs = [number(row, "gmacs") for row in record.rows]
    assert costs[1] > costs[0]  # stage 1 has a unit that can be set
    assert all("top1" in row.numbers for row in record.rows)
    trained = weights.load(done / "out/attention/train_stage_1/weights")
    assert trained.genotype.groups[0].attention == "glore"


def test_seeds_stand_beside_their_controls(done):
    """Two rows a seed, and how far the seeds agree."""
    record, _ = record_of(done, "seeds")

    assert [row.name for row in record.rows] == [
        f"seed {seed}, {what}" for seed in (1, 2) for what in ("search", "null control")
    ]
    assert 0 <= number(record, "agreement") <= 1
    chances = [chance for row in record.rows[1:] for chance in row.series["P(temporal)"]]
    assert all(0 < chance < 1 for chance in chances)


def test_every_seed_of_every_network_is_there(done):
    """Each training with its test; minimum and median; differences paired by video."""
    record, made = record_of(done, "trainings")
    rows = {row.name: row for row in record.rows}

    ends = ("seed 1", "seed 2", "minimum", "median")
    assert list(rows) == [f"{name}, {end}" for name in ("m", "s") for end in ends]
    assert list(made) == [f"train_{name}_seed{seed}" for name in ("m", "s") for seed in (1, 2)]
    tops = {}
    for name in ("m", "s"):
        tops[name] = [number(rows[f"{name}, seed {seed}"], "top1") for seed in (1, 2)]
        assert number(rows[f"{name}, minimum"], "top1") == min(tops[name])
        assert number(rows[f"{name}, median"], "top1") == sum(tops[name]) / 2
        for seed, top1 in zip((1, 2), tops[name], strict=True):
            row = rows[f"{name}, seed {seed}"]
            found = weights.load(done / f"out/trainings/train_{name}_seed{seed}/weights")
            assert found.metrics["val_top1"] == row.numbers["validated"]
            assert (row.numbers["low"], row.numbers["high"]) == wilson(round(8 * top1), 8)
    less, low, high = (number(record, f"s less m{end}") for end in ("", ", low", ", high"))
    assert less == pytest.approx((sum(tops["s"]) - sum(tops["m"])) / 2)
    assert low <= less <= high


def test_the_searched_network_stands_beside_random_ones(done):
    """The one that `derive` takes, within the window of the budget, and three others of its cost.

    Each as a path of the supernet, and trained for an epoch.
    """
    record, _ = record_of(done, "random_networks")

    assert [row.name for row in record.rows] == ["searched", "random_1", "random_2", "random_3"]
    assert all({"gmacs", "supernet_top1", "top1"} <= set(row.numbers) for row in record.rows)
    assert 0.9 * 0.00128 <= number(record.rows[0], "gmacs") <= 0.00128
    assert -1 <= number(record, "kendall_tau") <= 1
    assert record.numbers["beaten"] in range(4)
    folders = (done / "out/random_networks").rglob("weights")
    genotypes = {weights.load(path).genotype.groups for path in folders}
    assert len(genotypes) == 4


def test_the_ranking_is_that_of_networks_that_see_time(done):
    """Three near the target, each trained twice; tau and its interval for each warm-up."""
    record, made = record_of(done, "ranking")

    assert [row.name for row in record.rows] == ["random_1", "random_2", "random_3"]
    for row in record.rows:
        assert 0.9 * 0.00128 <= number(row, "gmacs") <= 0.00128
        assert number(row, "top1") == pytest.approx(sum(row.series["top1 by seed"]) / 2)
        folders = [done / f"out/ranking/train_{row.name}_seed{seed}/weights" for seed in (1, 2)]
        assert weights.load(folders[0]).genotype.groups[0].kernel == "t3_s3"
        assert {made[f"train_{row.name}_seed{seed}"].seed for seed in (1, 2)} == {1, 2}
    for what in ("cost", *ranking.WARM_UPS):
        low, high = number(record, f"tau_{what}_low"), number(record, f"tau_{what}_high")
        assert -1 <= low <= high <= 1


def test_units_by_hand_stand_behind_the_first_blocks_of_a_stage():
    """X3D-S has 3, 5, 11 and 7 blocks; A3D's Table 3 sets 2 units, or 2 and 3."""
    space = SPACES["space_x3d_s_attention"]
    placed = {}
    for name, units in attention.MANUAL.items():
        groups = space.genotype(attention.by_hand(space, units), name).groups
        placed[name] = [row for row, group in enumerate(groups) if group.attention == "glore"]

    assert placed == {
        "stage 1": [0, 1],
        "stage 2": [3, 4],
        "stage 3": [8, 9],
        "stages 3, 4": [8, 9, 19, 20, 21],
    }


def test_a_stage_of_one_block_takes_one_unit():
    """The demo's X3D-S begins with a stage of a single block."""
    assert sum(attention.by_hand(SPACES["space_demo_attention"], {1: 2})) == 1


def test_targets_lie_between_the_cheapest_network_and_the_median():
    """Of a space small enough to count."""
    space = SPACES["space_demo"]
    costs = SpaceCosts(space, 8)
    least, median = lab.spread(space, costs)

    assert least == costs.of((0,) * len(space.choices))
    assert least < median


def test_agreement_is_over_choices_that_are_open():
    """Two seeds that differ in one open choice of `demo`, which has 10 of 16."""
    space = SPACES["space_demo"]
    one = (0,) * len(space.choices)
    other = (1, *one[1:])

    assert seeds.agreement(space, [one, one]) == 1
    assert seeds.agreement(space, [one, other]) == pytest.approx(0.9)
    assert seeds.agreement(space, [one, one, other]) == pytest.approx((1 + 0.9 + 0.9) / 3)


def test_two_networks_are_compared_on_the_same_videos():
    """Hits averaged over the seeds; the interval is over videos, and 0 where none differs."""
    of = {"better": [True] * 6 + [False] * 2, "worse": [True] * 3 + [False] * 5}
    better, worse = (
        [trainings.Trial(1, None, Answers(None, hits)), trainings.Trial(2, None, other)]
        for hits, other in zip(of.values(), (Answers(None, [True] * 8),) * 2, strict=True)
    )
    mean, low, high = trainings.less("one less two", better, worse).values()

    assert mean == pytest.approx(3 / 16)
    assert low is not None
    assert high is not None
    assert low < 3 / 16 < high
    assert trainings.less("same", better, better) == {"same": 0, "same, low": 0, "same, high": 0}


COST = "G multiply-adds"


def test_numbers_and_provenance_stand_in_files_of_their_own(done):
    """What is the same bits anywhere has no hours in it; every kind there is was tried."""
    for name in SMALL:
        assert "hours" not in (done / f"results/studies/{name}.json").read_text()
        assert "hours" in (done / f"results/studies/{name}_made.json").read_text()
    assert kind.names() == {study["kind"] for study in SMALL.values()}


def test_the_report_has_a_section_of_what_the_studies_found(done, tmp_path):
    """A figure or a table a kind; no section without a study; other data's numbers stay away."""
    results = tmp_path / "results"
    results.mkdir()
    asked = {"studies": SMALL}
    assert studies(read(results, asked)).is_empty
    shutil.copytree(done / "results/studies", results / "studies")
    shown = read(results, asked)
    elements = {element.title: element for element in studies(shown).elements}

    figures = {title for title, element in elements.items() if isinstance(element, Figure)}
    assert figures == {
        "Beta: the weight of the cost",
        "Channels: fair against naive channels",
        "Random networks: random networks of the same cost",
        "Targets: the cost that was asked for",
    }
    beta = elements["Beta, in numbers"]
    assert isinstance(beta, Table)
    tables = [element for element in elements.values() if isinstance(element, Table)]
    assert not [table for table in tables if "published" in " ".join(table.head)]
    origin = Source("studies/attention.json")
    (by_hand,) = of_study(shown.studies["attention"], origin, KINETICS400)[:1]
    assert isinstance(by_hand, Table)
    assert (by_hand.rows[-1][0], by_hand.rows[-1][-1]) == ("searched", "73.3")
    pairs = elements["Trainings: differences on the same videos"]
    assert isinstance(pairs, Table)
    assert [row[0] for row in pairs.rows] == ["s less m"]
    seeds_of = elements["Trainings: each network with several seeds"]
    assert isinstance(seeds_of, Table)
    assert list(seeds_of.head) == ["", "top-1, %", "95 %, from", "to", "on validation", COST]
    assert [row[0] for row in seeds_of.rows][3:5] == ["m, median", "s, seed 1"]
    assert "study@beta/beta0" in page(shown)
    path = results / "studies/random_networks.json"
    path.write_text(path.read_text().replace("kendall_tau", "kendalls_tau"))
    with pytest.raises(Refused) as refused:
        studies(read(results, asked))
    line = f"{path}: missing number 'kendall_tau'. Run `study@random_networks` again."
    assert str(refused.value) == line
