"""A long loop reports its progress: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from autox3d.runtime import progress as module
from autox3d.runtime.progress import progress

STEP = "import time; from autox3d.runtime.progress import progress"
LOOP = "[time.sleep(0.05) for _ in progress(range(40), 40, 'transcode', 'clips')]"


def test_a_person_sees_a_bar_with_rate_and_time_left() -> None:
    """On a terminal the bar is redrawn in place."""
    keyboard, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", f"{STEP}; {LOOP}"], stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(keyboard, 4096)
        except OSError:  # the terminal's end
            break
    os.close(keyboard)

    assert process.wait() == 0
    text = shown.decode()
    assert text.count("\r") > 5
    assert re.search(r"transcode: +\d+%\|.*\| \d+/40 \[\d\d:\d\d<\d\d:\d\d, .*clips/s\]", text)
    assert "40/40" in text


def test_a_log_gets_a_first_and_a_last_line_where_a_step_is_short() -> None:
    """The log has no carriage returns and no bars; the first line comes before the first step."""
    done = subprocess.run([sys.executable, "-c", f"{STEP}; {LOOP}"], capture_output=True, text=True)

    first, last = done.stderr.splitlines()
    assert first == "transcode: 0/40 clips"
    assert re.fullmatch(r"transcode: 40/40 clips, \d[\d.]* clips/s, 00:0\d gone", last), last


def test_the_first_line_comes_before_the_first_item(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever waits for minutes for one step sees what is going on."""
    steps = progress(iter_failing(), 30, "train", "steps")
    with pytest.raises(KeyError):
        next(steps)

    assert capsys.readouterr().err.startswith("train: 0/30 steps\n")


def iter_failing() -> Iterator[int]:
    raise KeyError
    yield 1


def test_a_log_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line has the time left at the rate so far."""
    monkeypatch.setattr(module, "PAUSE", 0.2)
    for _ in progress(range(10), 10, "train", "epochs"):
        time.sleep(0.1)

    _, *between, last = capsys.readouterr().err.splitlines()
    assert 3 <= len(between) <= 5
    for line in between:
        assert re.fullmatch(
            r"train: [1-9]/10 epochs, [\d.]+ epochs/s, 00:00 gone, 00:00 left", line
        )
    assert last.startswith("train: 10/10 epochs, ")


def test_a_loop_that_fails_reports_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    """The item that failed is not counted."""
    steps = progress(range(10), 10, "train", "epochs")
    for step in steps:
        if step == 3:
            break
    del steps

    assert "\ntrain: 3/10 epochs, " in capsys.readouterr().err


def test_only_rank_0_reports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight ranks show one bar."""
    monkeypatch.setenv("RANK", "1")

    assert list(progress(range(3), 3, "train", "epochs")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
