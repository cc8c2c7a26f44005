"""No file, however damaged, ends a run: each has a line, or an answer, in time and in memory."""

from __future__ import annotations

from collections import Counter

import pytest
from support import fuzz

from autox3d.core.reasons import REASONS


@pytest.mark.parametrize("numbers", [range(200), pytest.param(range(2000), marks=pytest.mark.long)])
def test_any_file_is_read_or_refused_for_a_reason(numbers):
    """By `predict` and by `transcode`: no other error, no dead worker, no empty message.

    A worker that hangs is stopped after a minute, and one that dies is replaced; both are told as
    failures of the worker. A file that asks for over 4 GB of memory is refused as `crashed`.
    """
    found = fuzz.outcomes(numbers)

    usual = {"ok", *REASONS} - {"timeout"}
    assert [row for row in found if not usual.issuperset(row[1:])] == []
    for column in (1, 2):  # files of all kinds: good enough, and bad
        counts = Counter(row[column] for row in found)
        assert 0.2 < counts["ok"] / len(found) < 0.8
        assert len(counts) >= 5


def test_the_files_are_the_same_in_every_run(tmp_path):
    """So a file that fails can be made again by its number."""
    made = fuzz.originals(tmp_path)

    assert len(made) == 16
    assert [fuzz.mutated(made, n) for n in range(40)] == [fuzz.mutated(made, n) for n in range(40)]
    assert len({fuzz.mutated(made, number) for number in range(400)}) > 390


def test_what_a_fuzzer_looks_for_is_found(tmp_path, monkeypatch):
    """An error that is no refusal, and one without words, are not taken for an outcome."""
    path = tmp_path / "a.mp4"
    path.write_bytes(fuzz.originals(tmp_path)[0])
    assert fuzz.read(path) == "ok"

    def fail(*_: object) -> None:
        raise KeyError("no such frame")

    monkeypatch.setattr(fuzz, "windows", fail)
    assert fuzz.read(path).endswith("KeyError: 'no such frame'\n")
