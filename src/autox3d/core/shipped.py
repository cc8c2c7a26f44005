"""The networks and spaces that come with the package (architectures/*.yaml).

In a clone the folder is that of the repository, through a symbolic link; a wheel has the files.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from autox3d.core.errors import Refused

FOLDER = Path(__file__).parents[1] / "architectures"
GENOTYPE = "genotype.yaml"  # in a folder of weights
SPACE = "space_"  # how the names of spaces begin


def networks() -> list[str]:
    """The names of the networks."""
    return [name for name in _names() if not name.startswith(SPACE)]


def spaces() -> list[str]:
    """The names of the search spaces."""
    return [name for name in _names() if name.startswith(SPACE)]


def find(given: Path) -> Path:
    """The file that is meant by a path, a folder of weights, or a name such as `x3d_s`.

    What is there comes first. `architectures/x3d_s.yaml` that is not there is the package's, so
    that the same settings work in a clone and outside.

    Raises:
        Refused: a plain name is neither a file nor in the package.
    """
    if given.is_dir():
        return given / GENOTYPE
    if given.exists():
        return given
    if given.parent.name == FOLDER.name and not given.is_absolute():
        kept = FOLDER / given.name
        return kept if kept.exists() else given
    if given.suffix or given.name != str(given):
        return given
    if given.name not in _names():
        raise Refused(f"{given}: neither a file nor a network of autox3d. {_hint(given.name)}")
    return FOLDER / f"{given}.yaml"


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name, _names(), 1)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(_names())}."


def _names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))
