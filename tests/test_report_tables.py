"""The report's table and its first sentences say what was found, and how sure that is."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from support import ROOT, reports, results_folder

from autox3d.core.curves import read_confusion
from autox3d.core.errors import Refused
from autox3d.core.intervals import wilson
from autox3d.core.schema import parse
from autox3d.reporting import results_table
from autox3d.reporting.readme import with_table
from autox3d.reporting.results import read
from autox3d.reporting.results_table import markdown
from autox3d.reporting.verdicts import verdicts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.whole(tmp_path_factory)


def test_the_table_has_the_metrics_of_the_files(made: Path) -> None:
    """Each row's accuracy, cost and size, as evaluate wrote them."""
    lines = (made / "results/table.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:-2]]
    assert rows[0][:5] == ["network", "views", "top-1, %", "95 %", "less s, points"]
    assert rows[0][5:7] == ["top-5, %", "GMACs a view"]
    assert [row[0] for row in rows[2:]] == list(results_folder.NETWORKS)
    for row in rows[2:]:
        written = json.loads((made / f"results/evaluate/{row[0]}.json").read_text())
        assert float(row[2]) == pytest.approx(100 * written["lcr"]["top1"], abs=0.05)
        assert float(row[6]) == pytest.approx(written["gmacs_lcr"], rel=0.005)
        assert int(row[7].replace(",", "")) == written["params"]
        assert row[10] == "60d6fd0a1b"


def test_the_table_says_how_sure_it_is(made: Path) -> None:
    """Wilson's interval of each headline, and the paired difference from the found network."""
    results = read(made / "results", parse(made / "params.yaml"))
    table = {row[0]: row for row in results_table.rows(results)}
    pairs = {
        name: read_confusion(made / f"results/evaluate/{name}_confusion.csv") for name in table
    }
    right = {name: [p.actual == p.predicted for p in of] for name, of in pairs.items()}

    for name, row in table.items():
        low, high = wilson(sum(right[name]), 128)
        assert row[3] == f"{100 * low:.1f} to {100 * high:.1f}"
    assert table["s"][4] == ""
    mean = 100 * (sum(right["s_t1"]) - sum(right["s"])) / 128
    assert table["s_t1"][4].startswith(f"{mean:+.1f} (")
    low, high = map(float, re.findall(r"[-+][0-9.]+", table["s_t1"][4])[1:])
    assert low < mean < high < -60


def test_videos_that_differ_are_not_paired(tmp_path: Path) -> None:
    """Where a network was tested on other videos, or its metric is no share, there is a dash."""
    results_folder.make(tmp_path)
    other, odd = (tmp_path / f"results/evaluate/{name}_confusion.csv" for name in ("m", "l"))
    head, *lines = other.read_text().splitlines()
    other.write_text("\n".join([head, *lines[1:], lines[0]]) + "\n")
    odd.write_text("\n".join(odd.read_text().splitlines()[:100]) + "\n")
    results = read(tmp_path / "results", parse(tmp_path / "params.yaml"))
    table = {row[0]: row for row in results_table.rows(results)}

    assert table["m"][3] != "-"
    assert table["m"][4] == "-"
    assert table["l"][3:5] == ["-", "-"]


def test_the_table_says_what_each_network_is(made: Path) -> None:
    """One paragraph after the table, from the settings."""
    results = read(made / "results", parse(ROOT / "params.yaml"))

    assert results_table.legend(results) == (
        "s: the found network at 48 px. m: the found network at 56 px. "
        "l: the found network at 56 px, 2 times its blocks. "
        "x3d_s: architectures/x3d_s.yaml with 0.33 times its channels and 0.34 times its blocks. "
        "s_t1: results/genotypes/s.yaml, each kernel over one frame. "
        "95 %: Wilson's interval. Less s: the difference on the same videos, with its "
        "bootstrapped 95 % interval. Both are about the choice of videos, not about the seed of "
        "the training."
    )


def test_the_first_screen_says_what_was_found(made: Path) -> None:
    """Accuracy beside chance, paired differences, cost beside the budget, what decided."""
    results = read(made / "results", parse(made / "params.yaml"))
    first, others, cost, choices, *_ = verdicts(results)
    right = {
        name: [
            pair.actual == pair.predicted
            for pair in read_confusion(made / f"results/evaluate/{name}_confusion.csv")
        ]
        for name in ("s", "m", "s_t1")
    }
    share, (low, high) = 100 * sum(right["s"]) / 128, wilson(sum(right["s"]), 128)

    assert first == (
        f"s, the network found, has top-1 {share:.1f} % on 128 test videos "
        f"(95 %: {100 * low:.1f} to {100 * high:.1f}; chance: 12.5)."
    )
    for name, apart in (("m", ", not told apart"), ("s_t1", "")):
        mean = 100 * (sum(right["s"]) - sum(right[name])) / 128
        assert re.search(
            rf"{name} {re.escape(f'{mean:+.1f}')} points \([-+.0-9]+ to [-+.0-9]+{apart}\)", others
        )
    assert cost == "The search found a network of 0.0118 G multiply-adds, 2 % under its budget."
    assert choices == ("Of its 3 open choices the clips decided 1, the budget 1; 1 are undecided.")


def test_a_network_that_guesses_is_not_clear_of_chance(tmp_path: Path) -> None:
    """Each video predicted as the first class: right in an eighth of the videos."""
    results_folder.make(tmp_path)
    path = tmp_path / "results/evaluate/s_confusion.csv"
    head, *lines = path.read_text().splitlines()
    first = results_folder.CLASSES[0]
    actual = [line.split(",")[0] for line in lines]
    path.write_text("\n".join([head, *(f"{name},{first}" for name in actual)]) + "\n")
    record = tmp_path / "results/evaluate/s.json"
    found = json.loads(record.read_text())
    found["lcr"]["top1"] = actual.count(first) / len(actual)
    record.write_text(json.dumps(found))
    line = verdicts(read(tmp_path / "results", parse(tmp_path / "params.yaml")))[0]

    assert line.endswith("chance: 12.5): not clear of chance.")


def test_before_any_result_there_is_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "params.yaml").write_text(results_folder.SETTINGS)
    assert verdicts(read(tmp_path / "results", parse(tmp_path / "params.yaml"))) == []


def test_a_top_5_of_few_classes_has_no_column(tmp_path: Path) -> None:
    """With five classes it is always 100 %; with six it says something."""
    for count, there in ((5, False), (6, True)):
        root = tmp_path / str(count)
        results_folder.make(root, classes=results_folder.CLASSES[:count])
        results = read(root / "results", parse(root / "params.yaml"))
        assert ("top-5, %" in results_table.head(results)) == there
        assert {len(row) for row in results_table.rows(results)} == {
            len(results_table.head(results))
        }


def test_found_networks_come_first(made: Path) -> None:
    """In the order of params.yaml, then the baselines, then others that are trained."""
    results = read(made / "results", parse(made / "params.yaml"))
    assert [(n.name, n.searched) for n in results.networks] == [
        ("s", True),
        ("m", True),
        ("l", True),
        ("x3d_s", False),
        ("s_t1", False),
    ]


def test_readme_takes_the_table_between_its_marks() -> None:
    """What stands around the marks stays; a second time changes nothing."""
    readme = "# x\n\n<!-- results -->\nold\n<!-- /results -->\n\nend\n"
    once = with_table(readme, "| a |\n")
    assert once == "# x\n\n<!-- results -->\n| a |\n<!-- /results -->\n\nend\n"
    assert with_table(once, "| a |\n") == once
    with pytest.raises(Refused, match=r"README\.md: no place for the table"):
        with_table("# x\n", "| a |\n")


def test_the_table_is_whole_in_markdown(made: Path) -> None:
    """A bar in a name does not open a cell."""
    results = read(made / "results", parse(made / "params.yaml"))
    odd = [network._replace(name="a|b") for network in results.networks]
    *lines, gap, _ = markdown(results._replace(networks=odd)).splitlines()
    assert gap == ""
    for line in lines:
        assert len(re.split(r"(?<!\\)\|", line)) == 13


def test_readme_shows_the_published_results(tmp_path: Path) -> None:
    """Its table is made of the metrics that are committed; without any, its place is empty."""
    tree = ["git", "-C", str(ROOT), "ls-tree", "-r", "--name-only", "HEAD"]
    committed = subprocess.run(tree, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in committed:
        if name.startswith("results/") or name == "params.yaml":
            blob = ["git", "-C", str(ROOT), "show", f"HEAD:{name}"]
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(
                subprocess.run(blob, capture_output=True, check=True).stdout
            )
    results = read(tmp_path / "results", parse(tmp_path / "params.yaml"))
    table = markdown(results) if any(one.evaluation for one in results.networks) else ""

    readme = (ROOT / "README.md").read_text()
    assert with_table(readme, table) == readme
