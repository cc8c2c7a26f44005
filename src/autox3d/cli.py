"""`autox3d`: networks on the command line. `autox3d COMMAND --help` says more."""

from __future__ import annotations

import argparse

from autox3d.commands import compare, networks, plan, profile, spaces, status, upgrade, use
from autox3d.commands.parser import Commands
from autox3d.runtime.program import run


def main() -> None:
    """The command's function, or one line about what is wrong with its files."""
    args = parser().parse_args()
    run(lambda: args.command(args))


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    top = argparse.ArgumentParser(prog="autox3d", description=__doc__)
    commands = Commands(top.add_subparsers(required=True, metavar="COMMAND"))
    networks.add_to(commands)
    spaces.add_to(commands)
    compare.add_to(commands)
    use.add_to(commands)
    plan.add_to(commands)
    profile.add_to(commands)
    status.add_to(commands)
    upgrade.add_to(commands)
    return top
