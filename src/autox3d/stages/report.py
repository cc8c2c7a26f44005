r"""Stage `report`: one page and one table of all results that are there.

python -m autox3d.stages.report --results results --page results/report.html \
    --table results/table.md
"""

from __future__ import annotations

from pathlib import Path

from autox3d import atomic
from autox3d.report.page import page
from autox3d.report.results import read, settings_of
from autox3d.report.table import markdown
from autox3d.run.program import paths, run

SETTINGS = Path("params.yaml")


def main() -> None:
    files = paths(__doc__, "results", "page", "table")
    results = read(files.results, settings_of(SETTINGS))
    atomic.write_text(files.page, page(results))
    atomic.write_text(files.table, markdown(results.networks))


if __name__ == "__main__":
    run(main)
