"""Two runs differ in what was changed, and in what that did; in nothing else."""

import json
from pathlib import Path

import results_folder

from autox3d.report.compare import Difference, compare
from autox3d.report.results import Results, read
from autox3d.yamlfile import parse


def results(root: Path) -> Results:
    return read(root / "results", parse(root / "params.yaml"))


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    """Whatever there is to compare."""
    results_folder.make(tmp_path)
    assert compare(results(tmp_path), results(tmp_path)) == []


def test_causes_come_before_effects(tmp_path: Path) -> None:
    """A setting, a block of the genotype, a network's accuracy and one of its classes."""
    results_folder.make(tmp_path)
    before = results(tmp_path)
    settings, found = tmp_path / "params.yaml", tmp_path / "results/derive/genotype.yaml"
    settings.write_text(settings.read_text().replace("target: 0.012", "target: 0.02"))
    found.write_text(found.read_text().replace("blocks: 1,", "blocks: 3,", 1))
    path = tmp_path / "results/evaluate/s.json"
    tested = json.loads(path.read_text())
    tested["lcr"]["top1"] = 0.5
    tested["per_class"][0]["top1"] = None
    path.write_text(json.dumps(tested))

    differences = compare(before, results(tmp_path))
    network = before.networks[0].evaluation
    assert network
    assert differences == [
        Difference("settings", "search.target", 0.012, 0.02),
        Difference("genotype", "groups.1.blocks", 1, 3),
        Difference("s", "lcr.top1", network["lcr"]["top1"], 0.5),
        Difference("s", "per_class.pan_left", network["per_class"][0]["top1"], None),
    ]
    assert [round(d.change, 3) if d.change is not None else None for d in differences] == [
        0.008,
        2,
        round(0.5 - network["lcr"]["top1"], 3),
        None,
    ]


def test_a_network_of_one_run_alone_is_told(tmp_path: Path) -> None:
    """All it has stands against nothing."""
    results_folder.make(tmp_path)
    before = results(tmp_path)
    (tmp_path / "results/evaluate/l.json").unlink()
    differences = compare(before, results(tmp_path))
    assert {difference.part for difference in differences} == {"l"}
    assert all(difference.after is None for difference in differences)
