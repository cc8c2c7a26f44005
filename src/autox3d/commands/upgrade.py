"""The command that converts a workspace of an earlier version."""

from __future__ import annotations

import argparse

from autox3d.commands.parser import Commands


def add_to(commands: Commands) -> None:
    """Adds the command upgrade."""
    commands.add("upgrade", upgrade, "autox3d upgrade")


def upgrade(args: argparse.Namespace) -> None:
    """Convert this folder's results and settings of commit 486c83c to this version."""
    from autox3d.pipeline import upgrade as work  # importing DVC is slow

    done = False
    for line in work.upgrade():
        print(line, flush=True)
        done = True
    if not done:
        print("nothing to do: this folder is of this version already")
