"""Puts the results table into README.md: `make readme`.

python -m autox3d.reporting.readme
"""

from __future__ import annotations

from pathlib import Path

from autox3d.core import atomic
from autox3d.core.errors import Refused
from autox3d.runtime.program import run

BEGIN, END = "<!-- results -->\n", "<!-- /results -->"


def with_table(readme: str, table: str) -> str:
    """Replaces the text between the two marks.

    Raises:
        Refused: a mark is missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Refused(f"README.md: no place for the table. Add {BEGIN.strip()} and {END}.")
    return f"{before}{BEGIN}{table}{END}{after}"


def main() -> None:
    readme, table = Path("README.md"), Path("results/table.md")
    text = with_table(readme.read_text(encoding="utf-8"), table.read_text(encoding="utf-8"))
    atomic.write_text(readme, text)


if __name__ == "__main__":
    run(main)
