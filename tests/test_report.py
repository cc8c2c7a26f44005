"""The report shows all results, names missing files, and escapes every label."""

import base64
import contextlib
import html
import itertools
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from support import ROOT, programs, results_folder

from autox3d.core.curves import Pair, read_confusion
from autox3d.core.errors import Refused
from autox3d.core.intervals import wilson
from autox3d.core.schema import dump, parse
from autox3d.reporting import results_table
from autox3d.reporting.classes import confused_pairs
from autox3d.reporting.page import page as page_of
from autox3d.reporting.readme import with_table
from autox3d.reporting.results import read
from autox3d.reporting.results_table import markdown
from autox3d.reporting.svg import axes, costs, drawing, labels
from autox3d.reporting.verdicts import verdicts

TITLES = ["Accuracy and cost", "The network found", "How it was found", "Training"]
TITLES += ["Class by class", "What it gets wrong", "Where it looked"]
TITLES += ["The videos", "How it was made"]
FIGURES = 33
PICTURES, SHEETS = 6, 1  # two of the pictures are on a sheet
HOSTILE = '<script>alert(1)</script> & "$x^2$'


def report(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autox3d.stages.report", "--results", "results"]
    outputs = ["--page", "results/report.html", "--table", "results/table.md"]
    return programs.run("report", [*command, *outputs], root)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    results_folder.make(root)
    done = report(root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return (made / "results/report.html").read_text()


def shown(root: Path, drawn: bool = True) -> str:
    """The page, made here: a program of its own would import for longer than it works.

    Args:
        drawn: with the figures' content; without it, they are empty, in a fifth of the time.
    """
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr(Figure, "savefig", lambda _, target, **__: target.write("<svg></svg>"))
        return page_of(read(Path("results"), parse(Path("params.yaml"))))


def figures(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


def test_every_section_is_there(page: str) -> None:
    """With all results, nothing is named as missing."""
    assert re.findall(r"<h2>(.*?)</h2>", page) == TITLES
    assert "Not there yet" not in page


def test_every_figure_is_well_formed_and_says_what_it_shows(page: str) -> None:
    """Inline SVG with a text for those who do not see it, its data file and its command."""
    found = figures(page)
    assert len(found) == FIGURES
    for drawn in found:
        root = ET.fromstring(drawn)
        assert len(root.attrib["aria-label"]) > 30
        assert "width" not in root.attrib  # it takes the page's
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert len(captions) == len(found) + PICTURES - 2 + SHEETS
    assert all("Data: <code>" in caption for caption in captions)
    assert (
        sum("by <code>dvc repro " in caption for caption in captions) == len(captions) - 1
    )  # the sets


def test_every_picture_says_what_it_shows(page: str) -> None:
    """JPEGs inside the page; a mistake names both classes and where the evidence lies."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/jpeg;base64,([^"]*)">', page)
    assert len(found) == PICTURES == page.count("<img")
    assert all(base64.b64decode(jpeg).startswith(b"\xff\xd8") for _, jpeg in found)
    assert found[0][0] == (
        "Frames of: test-pan_left-0002: is pan_left, s says pan_up (0.75). Loss 4.2 nats."
    )
    assert found[4][0] == (
        "4 frames of test-pan_left-0002, which s says is pan_up, but is pan_left; lit where it "
        "saw what speaks for pan_up and, below, for pan_left, most in frame 4 of 4."
    )
    assert "s takes pan_left for pan_up, 3 of 16" in page


def test_a_control_that_was_left_out_leaves_no_figure(tmp_path: Path) -> None:
    """Nor do missing latencies and clips; an empty trace is what a control of 0 epochs writes."""
    results_folder.make(tmp_path)
    trace = tmp_path / "results/control/trace.csv"
    trace.write_text(trace.read_text().split("\n")[0] + "\n")
    (tmp_path / "results/control/alpha.json").write_text('{"space": "demo", "choices": []}')
    made = tmp_path / "results/control/control_made.json"
    made.write_text(json.dumps(json.loads(made.read_text()) | {"hours": 0.0}))
    for folder in ("latency", "explain"):
        shutil.rmtree(tmp_path / "results" / folder)
    page = shown(tmp_path, drawn=False)
    assert "null control" not in re.sub("<[^>]*>", "", page.split('id="origins"')[0])
    assert "by the clock" not in page
    assert "<img" not in page
    assert "Not there yet: <code>results/explain/*.json</code>" in page


def test_a_warm_up_of_no_epochs_leaves_no_figure(tmp_path: Path) -> None:
    """Its curve is a head without rows."""
    results_folder.make(tmp_path)
    assert "Warm-up of the supernet" in shown(tmp_path, drawn=False)
    (tmp_path / "results/warmup.csv").write_text("epoch,phase,lr,loss\n")
    page = shown(tmp_path, drawn=False)

    assert "Warm-up of the supernet" not in page
    assert 'id="training"' in page


def test_the_control_stands_beside_the_search(page: str) -> None:
    """Both end where their files end."""
    (svg,) = (svg for svg in figures(page) if "null control 0." in svg)
    assert "entropy, share of uniform by epoch; at the end: search 0.02, null control 0.41." in svg


def test_gains_are_the_differences_of_the_files(made: Path, page: str) -> None:
    """Each class of s less the same of x3d_s, the largest gain first."""
    shares = []
    for name in ("s", "x3d_s"):
        rows = json.loads((made / f"results/evaluate/{name}.json").read_text())["per_class"]
        shares.append({row["class"]: row["top1"] for row in rows})
    (svg,) = (svg for svg in figures(page) if "Top-1 of s less that of x3d_s" in svg)
    said = re.search(r"<title>.*? by class: (.*?)\.</title>", svg)
    assert said
    told = [part.rsplit(" ", 1) for part in said[1].split(", ")]
    assert {name: float(gain) for name, gain in told} == {
        name: pytest.approx(100 * (ours - shares[1][name]), abs=0.05)
        for name, ours in shares[0].items()
    }
    gains = [float(gain) for _, gain in told]
    assert gains == sorted(gains, reverse=True)


def test_confused_pairs_are_counted() -> None:
    """Most videos first, with the size of the actual class; right answers do not count."""
    pairs = [Pair(*row) for row in ("ab", "aa", "ba", "ab", "cc")]
    assert confused_pairs(pairs) == [["a", "b", "2", "3"], ["b", "a", "1", "1"]]
    assert confused_pairs(pairs[1:2]) == []


def test_clips_are_drawn_for_every_number(page: str) -> None:
    """K of 1, 3, 5, 7, 10, centre crop and three crops, for every network (X3D, Figure A.4)."""
    drawn = [svg for svg in figures(page) if "a point for each number of clips" in svg]
    assert len(drawn) == 2
    for svg in drawn:
        for name in results_folder.NETWORKS:
            assert re.search(
                rf"\b{name} [\d.]+% with 1, [\d.]+% with 3, [\d.]+% with 5, [\d.]+% with 7, "
                r"[\d.]+% with 10",
                svg,
            )


def test_nothing_comes_from_outside(page: str) -> None:
    """No address is loaded: links lead inside the page, images are data."""
    loads = re.findall(r'\b(?:src|href|xlink:href)="([^"]*)"', page)
    assert loads
    assert all(address.startswith(("#", "data:")) for address in loads)
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []
    assert "<script" not in page


def test_ids_are_unique_where_something_points_to_them(page: str) -> None:
    """Two figures that define one name define the same thing."""
    definitions = re.findall(r'<(clipPath|path) id="([^"]+)"(.*?)</?(?:clipPath|defs)', page, re.S)
    content: dict[str, str] = {}
    for _, name, body in definitions:
        assert content.setdefault(name, body) == body
    pointed = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', page))
    assert pointed <= set(re.findall(r' id="([^"]+)"', page))


def test_the_same_results_give_the_same_bytes(made: Path, page: str) -> None:
    """No date, no random name: DVC sees a change only where there is one."""
    report(made)
    assert (made / "results/report.html").read_text() == page


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


def test_names_of_points_cover_nothing() -> None:
    """Five networks of almost the same accuracy and cost: no name is on a point or on another."""
    near = {"s": 0.0082, "m": 0.0084, "x3d_s": 0.0085, "l": 0.0086, "s_t1": 0.0087}
    places = {name: (cost, 0.97 + cost) for name, cost in near.items()}
    with drawing("Five points.") as drawn:
        plot = axes(drawn, "cost", "accuracy")
        plot.plot(*zip(*places.values(), strict=True), "o-")
        plot.margins(0.3)
        labels(plot, places)
        boxes = {text.get_text(): text.get_window_extent() for text in plot.texts}
        points = [plot.transData.transform(place) for place in places.values()]

    assert set(boxes) == set(places)
    assert not any(one.overlaps(two) for one, two in itertools.combinations(boxes.values(), 2))
    assert not any(box.contains(*point) for box in boxes.values() for point in points)


def test_a_narrow_range_of_costs_has_ticks_to_read_it_by() -> None:
    """From 10.1 to 10.9: no power of ten and no round multiple lies within."""
    with drawing("A narrow range.") as drawn:
        plot = axes(drawn, "cost", "accuracy")
        plot.plot([10.1, 10.9], [0, 1], "o")
        costs(plot)
        low, high = plot.get_xlim()
        ticks = [tick for tick in plot.get_xticks() if low <= tick <= high]

    assert len(ticks) >= 2


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """An empty results folder gives a page too, which says what to run."""
    (tmp_path / "results").mkdir()
    (tmp_path / "params.yaml").write_text(results_folder.SETTINGS)
    done = report(tmp_path)

    assert done.returncode == 0, done.stderr
    page = (tmp_path / "results/report.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == [t for t in TITLES if t != "What it gets wrong"]
    named = re.findall(r"<code>(results/[^<]*)</code>", page)
    for path in ("derive/genotype.yaml", "search/trace.csv", "search/alpha.json", "data.json"):
        assert f"results/{path}" in named
    for name in results_folder.NETWORKS:  # each, also where nothing of it is there
        assert {f"results/evaluate/{name}.json", f"results/train/{name}.csv"} <= set(named)
    table = (tmp_path / "results/table.md").read_text()
    assert table == "No network has been evaluated yet.\n"


def test_a_network_without_its_evaluation_is_named(tmp_path: Path) -> None:
    """Half of the results: the others are shown."""
    results_folder.make(tmp_path)
    (tmp_path / "results/evaluate/m.json").unlink()
    assert "Not there yet: <code>results/evaluate/m.json</code>. Run" in shown(
        tmp_path, drawn=False
    )
    results = read(tmp_path / "results", parse(tmp_path / "params.yaml"))
    assert "| m " not in markdown(results)


def test_labels_are_escaped(tmp_path: Path) -> None:
    """A class whose name is HTML, mathematics or quotes is shown as it is written."""
    results_folder.make(tmp_path, classes=(HOSTILE, *results_folder.CLASSES[1:]))
    page = shown(tmp_path)
    assert "<script" not in page
    escaped = html.escape(HOSTILE)
    shown_as = page.replace("&#34;", "&quot;")
    assert f"<td>{escaped}/v0.mp4</td>" in shown_as  # a file that was refused
    assert f'<img alt="4 frames of test-{escaped}-0001, which s says is {escaped}; lit' in shown_as
    assert f"<h3>s takes {escaped} for pan_up, 3 of 16</h3>" in shown_as
    for drawn in figures(page):
        ET.fromstring(drawn)


def test_many_classes_are_listed_in_place_of_a_matrix(tmp_path: Path) -> None:
    """From 31 classes on, the pairs that are confused most."""
    results_folder.make(tmp_path, classes=[f"class {i:03d}" for i in range(80)])
    page = shown(tmp_path, drawn=False)
    assert "Most confused" in page
    assert "Confusion of" not in page
    assert "The 30 best of 80 classes" in page
    assert "The 30 worst of 80 classes" in page


def test_a_test_without_labels_has_no_accuracy(tmp_path: Path) -> None:
    """Accuracies that are null: a dash in the table, no figure, no error."""
    results_folder.make(tmp_path)
    for path in (tmp_path / "results/evaluate").glob("*.json"):
        found = json.loads(path.read_text())
        top = {"top1": None, "top5": None, "mean": None}
        found |= {"labelled": 0, "center": {"views": 10} | top, "lcr": {"views": 30} | top}
        found["per_class"] = [{**row, "top1": None} for row in found["per_class"]]
        path.write_text(json.dumps(found))
    assert "This project" not in shown(tmp_path, drawn=False)
    results = read(tmp_path / "results", parse(tmp_path / "params.yaml"))
    assert "| s       | 30    | -        | -    |                | -        |" in markdown(results)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (
            "search/trace.csv",
            "epoch,loss,entropy\n1,2.0,1.0\n",
            "results/search/trace.csv: missing column 'mode_gmacs'. Run `search` again.",
        ),
        (
            "train/s.csv",
            "",
            "results/train/s.csv: is empty. Run `train@s` again.",
        ),
        (
            "evaluate/s.json",
            '{"net": "s"}',
            "results/evaluate/s.json: missing 'per_class'. Run `evaluate@s` again.",
        ),
        (
            "data.json",
            "[]",
            "results/data.json: not a JSON object. Run `index` again.",
        ),
        (
            "search/alpha.json",
            '{"space": "demo", "choices":'
            ' [{"group": 1, "column": "kernel", "candidates": [], "logits": []}]}',
            "results/search/alpha.json: missing 'choices', row 1, 'probabilities'."
            " Run `search` again.",
        ),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, content: str, line: str) -> None:
    """File, place and way out."""
    results_folder.make(tmp_path)
    (tmp_path / "results" / name).write_text(content)
    with pytest.raises(Refused) as refused:
        shown(tmp_path, drawn=False)
    assert str(refused.value) == line


def test_a_metric_that_its_task_has_is_not_left_out(tmp_path: Path) -> None:
    """A misspelt metric is a metric of no task: the one that is missing is named."""
    results_folder.make(tmp_path)
    path = tmp_path / "results/evaluate/s.json"
    path.write_text(path.read_text().replace('"top5"', '"top_5"'))
    with pytest.raises(Refused) as refused:
        shown(tmp_path)

    line = "results/evaluate/s.json: missing metric 'top5'. Run `evaluate@s` again."
    assert str(refused.value) == line


def test_sections_of_what_nobody_asked_for_are_left_out(tmp_path: Path) -> None:
    """No heat maps where the settings name no network for them; no studies without results."""
    results_folder.make(tmp_path)
    asked = parse(tmp_path / "params.yaml") | {"explain": {"networks": []}}
    (tmp_path / "params.yaml").write_text(dump(asked))
    page = shown(tmp_path)

    assert re.findall(r"<h2>(.*?)</h2>", page) == [
        title for title in TITLES if title not in ("What it gets wrong", "Where it looked")
    ]


def test_a_refusal_leaves_no_page(tmp_path: Path) -> None:
    """The program says its line and ends with 1."""
    results_folder.make(tmp_path)
    (tmp_path / "results/explain/s.json").write_text("{}")
    done = report(tmp_path)
    line = "results/explain/s.json: missing 'net'. Run `explain@s` again.\n"
    assert (done.returncode, done.stderr) == (1, line)
    assert not (tmp_path / "results/report.html").exists()


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


def test_what_earlier_settings_left_is_not_shown(tmp_path: Path) -> None:
    """DVC deletes no output of an entry that is gone; the report has what params.yaml names.

    The page and the table are, byte for byte, those of a folder that never had the others.
    """
    kept, never = tmp_path / "kept", tmp_path / "never"
    for root in (kept, never):
        results_folder.make(root)
        results_folder.random_networks(root, (0.5, 0.6), 0.007)
        assert "study@random_networks" in shown(root, drawn=False)
        settings = parse(root / "params.yaml")
        changed = {
            "studies": {},
            "scale": {"s": settings["scale"]["s"]},
            "train": {name: settings["train"][name] for name in ("s", "x3d_s")},
            "explain": {"networks": ["x3d_s"]},
        }
        (root / "params.yaml").write_text(dump(settings | changed))
    gone = ("m", "l", "s_t1")
    for path in sorted((never / "results").rglob("*")):
        if path.stem.removesuffix("_made").removesuffix("_confusion") in (*gone, "random_networks"):
            path.unlink()
    (never / "results/explain/s.json").unlink()

    assert [one.name for one in read(kept / "results", parse(kept / "params.yaml")).networks] == [
        "s",
        "x3d_s",
    ]
    assert shown(kept) == shown(never)
    with contextlib.chdir(kept):
        there = markdown(read(Path("results"), parse(Path("params.yaml"))))
    with contextlib.chdir(never):
        assert there == markdown(read(Path("results"), parse(Path("params.yaml"))))
    for name in gone:
        assert f"| {name} " not in there


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


def test_the_confusion_counts_are_the_files(made: Path, page: str) -> None:
    """The matrix of s_t1 shows each count of its file."""
    counts = Counter(read_confusion(made / "results/evaluate/s_t1_confusion.csv"))
    svg = next(svg for svg in figures(page) if "Confusion of s_t1" in svg)
    shown = [int(text) for text in re.findall(r"<text[^>]*>(\d+)</text>", svg)]
    assert sorted(shown) == sorted(counts.values())


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
