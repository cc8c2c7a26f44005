"""The report of a results folder: its program, and its page made in the process of the test."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from autox3d.core.schema import parse
from autox3d.reporting.page import page as page_of
from autox3d.reporting.results import read
from support import programs, results_folder
from support.shared import made_once

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


def whole(temporary: pytest.TempPathFactory) -> Path:
    """A results folder with its report, which all files of tests share."""
    return made_once(temporary, "report", _fill)


def _fill(root: Path) -> None:
    results_folder.make(root)
    done = report(root)
    assert done.returncode == 0, done.stderr


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
