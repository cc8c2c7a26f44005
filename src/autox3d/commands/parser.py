"""The parser that all commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


class Commands:
    """The subcommands of the program."""

    def __init__(self, subparsers: Subparsers) -> None:
        self._subparsers = subparsers

    def add(
        self, name: str, command: Callable[[argparse.Namespace], None], example: str = ""
    ) -> argparse.ArgumentParser:
        """Adds a command and returns its parser; the function's docstring is the help text.

        Args:
            example: a command line for its --help
        """
        text, last = command.__doc__, f"example: {example}" if example else None
        parser = self._subparsers.add_parser(name, help=text, description=text, epilog=last)
        parser.set_defaults(command=command)
        return parser


def positive(text: str) -> int:
    """Parses a whole number greater than 0."""
    if (number := int(text)) <= 0:
        raise ValueError
    return number


def share(text: str) -> float:
    """Parses a number from 0 to 1."""
    if not 0 <= (number := float(text)) <= 1:
        raise ValueError
    return number
