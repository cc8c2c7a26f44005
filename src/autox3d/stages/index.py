"""Stage `index`: one table of usable clips, and an account of what is missing or refused.

python -m autox3d.stages.index --videos data/videos.parquet --index data/index
    --clips data/clips.parquet --report results/data.json
"""

from __future__ import annotations

from autox3d.core.tables import read_classes, read_table, write_table
from autox3d.datasets import catalogue
from autox3d.runtime.program import arguments, run


def main() -> None:
    files = arguments(__doc__, "videos", "index", "clips", "report")
    classes = read_classes(files.videos)
    rows = catalogue.refuse_copies(catalogue.join(read_table(files.videos), files.index))
    account = catalogue.account(rows, classes)
    write_table(catalogue.clips(rows, classes, files.videos), files.clips, classes)
    account.write(files.report)
    of = account.total
    print(f"{of.listed} videos: {of.usable} usable, {of.missing} missing, {of.refused} refused")


if __name__ == "__main__":
    run(main)
