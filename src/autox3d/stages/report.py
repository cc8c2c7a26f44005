r"""Stage `report`: writes a page and a table of all results.

python -m autox3d.stages.report --results results --page results/report.html \
    --table results/table.md
"""

from __future__ import annotations

from pathlib import Path

from autox3d.core import atomic
from autox3d.reporting.page import page
from autox3d.reporting.results import read, settings_of
from autox3d.reporting.results_table import markdown
from autox3d.runtime.program import arguments, run

SETTINGS = Path("params.yaml")


def main() -> None:
    files = arguments(__doc__, "results", "page", "table")
    results = read(files.results, settings_of(SETTINGS))
    atomic.write_text(files.page, page(results))
    atomic.write_text(files.table, markdown(results))


if __name__ == "__main__":
    run(main)
