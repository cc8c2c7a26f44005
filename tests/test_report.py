"""The report shows all results in figures and pictures, loads nothing, and escapes every label."""

import base64
import html
import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from support import reports, results_folder
from support.reports import FIGURES, HOSTILE, PICTURES, SHEETS, TITLES, figures, report, shown

from autox3d.core.curves import Pair, read_confusion
from autox3d.reporting.classes import confused_pairs
from autox3d.reporting.svg import axes, costs, drawing, labels


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.whole(tmp_path_factory)


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return (made / "results/report.html").read_text()


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


def test_the_confusion_counts_are_the_files(made: Path, page: str) -> None:
    """The matrix of s_t1 shows each count of its file."""
    counts = Counter(read_confusion(made / "results/evaluate/s_t1_confusion.csv"))
    svg = next(svg for svg in figures(page) if "Confusion of s_t1" in svg)
    shown = [int(text) for text in re.findall(r"<text[^>]*>(\d+)</text>", svg)]
    assert sorted(shown) == sorted(counts.values())
