r"""Stage `page`: writes a page of one network, which needs no search.

python -m autox3d.stages.page --network x3d --results results --page results/pages/x3d.html
"""

from __future__ import annotations

from autox3d.core import atomic, settings
from autox3d.reporting.page import page_of
from autox3d.reporting.results import read, settings_of
from autox3d.runtime.program import arguments, run


def main() -> None:
    """Uses the entry of `pages` with the network's name."""
    files = arguments(__doc__, "results", "page", words=["network"])
    title = settings.named(settings.load().pages, "pages", files.network).title
    results = read(files.results, settings_of(settings.PARAMS))
    atomic.write_text(files.page, page_of(results, files.network, title))
    print(f"The page: {files.page.resolve()}")


if __name__ == "__main__":
    run(main)
