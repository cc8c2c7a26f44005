"""The command that shows what the papers print."""

from __future__ import annotations

import argparse
from pathlib import Path

from autox3d.commands.parser import Commands
from autox3d.core import atomic


def add_to(commands: Commands) -> None:
    """Adds the command papers."""
    one = commands.add("papers", papers, "autox3d papers")
    page = Path("papers.html")
    one.add_argument("--html", type=Path, default=page, metavar="FILE", help="papers.html if left")


def papers(args: argparse.Namespace) -> None:
    """Write a page with every table of results that the papers print, and Auto-X3D's Figure 1."""
    from autox3d.reporting.page import page_of_papers  # importing matplotlib is slow

    atomic.write_text(args.html, page_of_papers())
    print(f"The page: {args.html.resolve()}")
