"""`autox3d`: networks on the command line. `autox3d COMMAND --help` says more."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys

from autox3d import __version__
from autox3d.commands import (
    compare,
    networks,
    papers,
    plan,
    predict,
    profile,
    share,
    spaces,
    start,
    status,
    tune,
    upgrade,
    use,
)
from autox3d.commands.parser import Commands
from autox3d.runtime.program import run


def main() -> None:
    """The command's function, or one line about what is wrong with its files."""
    args = parser().parse_args()
    run(lambda: _answer(args))


def _answer(args: argparse.Namespace) -> None:
    try:
        args.command(args)
        sys.stdout.flush()
    except BrokenPipeError:
        poll = select.poll()
        poll.register(sys.stdout, 0)
        if not poll.poll(0):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the last flush
        sys.exit(128 + signal.SIGPIPE)  # whoever reads has read enough, such as `| head`


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    top = argparse.ArgumentParser(prog="autox3d", description=__doc__)
    top.add_argument("--version", action="version", version=f"autox3d {__version__}")
    commands = Commands(top.add_subparsers(required=True, metavar="COMMAND"))
    start.add_to(commands)
    predict.add_to(commands)
    use.add_to(commands)
    share.add_to(commands)
    networks.add_to(commands)
    spaces.add_to(commands)
    compare.add_to(commands)
    papers.add_to(commands)
    plan.add_to(commands)
    profile.add_to(commands)
    tune.add_to(commands)
    status.add_to(commands)
    upgrade.add_to(commands)
    return top
