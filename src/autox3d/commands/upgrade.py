"""A workspace of an earlier version, taken over as it is."""

from __future__ import annotations

import argparse

from autox3d.commands.parser import Commands


def add_to(commands: Commands) -> None:
    """upgrade."""
    commands.add("upgrade", upgrade)


def upgrade(args: argparse.Namespace) -> None:
    """Make this folder's results and settings, made at commit 486c83c, those of this version."""
    from autox3d.pipeline import upgrade as work  # DVC takes its time

    done = False
    for line in work.upgrade():
        print(line, flush=True)
        done = True
    if not done:
        print("nothing to do: this folder is of this version already")
