"""What all commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


class Commands:
    """`add` one, with its function; the function's docstring is its help."""

    def __init__(self, subparsers: Subparsers) -> None:
        self._subparsers = subparsers

    def add(
        self, name: str, command: Callable[[argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        """Its parser, to give it arguments."""
        said = command.__doc__
        made = self._subparsers.add_parser(name, help=said, description=said)
        made.set_defaults(command=command)
        return made


def positive(text: str) -> int:
    """A whole number over 0."""
    if (number := int(text)) <= 0:
        raise ValueError
    return number
