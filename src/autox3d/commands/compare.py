"""The command that compares two runs of the pipeline."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from autox3d.commands.parser import Commands
from autox3d.core import atomic, schema
from autox3d.core.errors import Refused

if TYPE_CHECKING:  # importing torch is slow
    from autox3d.reporting.differences import PipelineRun


def add_to(commands: Commands) -> None:
    """Adds the command compare."""
    one = commands.add("compare", compare, "autox3d compare main~1 .")
    what = "a folder with params.yaml and results/, or a git revision of this one"
    one.add_argument("before", metavar="A", help=what)
    one.add_argument("after", metavar="B", help="another; . is the current folder")
    one.add_argument("--html", type=Path, metavar="FILE", help="also write a page with figures")


def compare(args: argparse.Namespace) -> None:
    """Print the differences between two runs: settings, data, code, genotype, and results."""
    from autox3d.reporting import differences_page  # importing matplotlib is slow

    runs = load(args.before), load(args.after)
    print(differences_page.text(*runs))
    if args.html:
        atomic.write_text(args.html, differences_page.page(*runs))


def load(name: str) -> PipelineRun:
    """Reads the run of a folder or of a git revision.

    Raises:
        Refused: `name` is neither, or one of the files is damaged.
    """
    from autox3d.pipeline import revision

    if Path(name, "params.yaml").is_file():
        return _read(Path(name), name)
    if Path(name).is_dir():
        raise Refused(f"{name}: no params.yaml in it. Name a folder in which `dvc repro` has run.")
    commit = revision.resolve(name)
    if commit is None:
        raise Refused(f"{name}: neither a folder nor a git revision here. Look at `git log`.")
    with tempfile.TemporaryDirectory(prefix="autox3d-") as scratch:
        lost = revision.export(commit, Path(scratch))
        if not Path(scratch, "params.yaml").is_file():
            raise Refused(
                f"{name} ({commit}): has no params.yaml, so no run. Name a later revision."
            )
        try:
            return _read(Path(scratch), name)._replace(commit=commit, lost=lost)
        except Refused as error:
            raise Refused(str(error).replace(scratch, f"{name} ({commit})")) from error


def _read(folder: Path, name: str) -> PipelineRun:
    """The run in a folder; without a dvc.yaml, all stages of dvc.lock are taken for its own."""
    from autox3d.pipeline.stage_names import present
    from autox3d.reporting.differences import PipelineRun
    from autox3d.reporting.results import read, settings_of

    settings = settings_of(folder / "params.yaml")
    lock, pipeline = (
        schema.parse(path) if (path := folder / one).is_file() else {}
        for one in ("dvc.lock", "dvc.yaml")
    )
    stages = present(lock, pipeline, settings) if pipeline else lock.get("stages") or {}
    return PipelineRun(name, read(folder / "results", settings), stages)
