"""The page of one network has its results, its mistakes and its cost, and no other network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import results_folder

from autox3d.core.errors import Refused
from autox3d.reporting.page import page_of
from autox3d.reporting.results import read

ALONE = {"train": {"s": {}}, "explain": {"networks": ["s"]}}  # settings of a page of one network


def test_what_takes_seconds_is_told_without_a_power_of_ten(tmp_path: Path) -> None:
    """Three digits of milliseconds, as a person writes them."""
    results_folder.make(tmp_path)
    file = tmp_path / "results/latency/s.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"batched": known["batched"] | {"median": 1.3334}}))
    page = page_of(read(tmp_path / "results", ALONE), "s", "s on clips")

    assert "The 30 views of a video take 1,330 ms without decoding" in page


def test_a_page_of_one_network_has_its_mistakes_and_no_other(tmp_path: Path) -> None:
    """No search, no plot with one point; what it costs is a sentence."""
    results_folder.make(tmp_path)
    page = page_of(read(tmp_path / "results", ALONE), "s", "s on clips")

    assert "<title>s on clips</title>" in page
    assert "What it gets wrong" in page
    assert "x3d_s" not in page
    assert "How it was found" not in page
    assert "This project" not in page
    assert "A view costs" in page
    assert "The 30 views of a video take 50 ms without decoding" in page
    with pytest.raises(Refused) as caught:
        page_of(read(tmp_path / "results", ALONE), "gone", "x")
    assert str(caught.value) == (
        f"{tmp_path}/results: has no network 'gone'. Run `evaluate@gone` first."
    )
