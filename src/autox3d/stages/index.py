"""Stage `index`: writes one table of all usable clips, and counts what is missing or refused.

python -m autox3d.stages.index --videos data/videos.parquet --index data/index
    --clips data/clips.parquet --report results/data.json
"""

from __future__ import annotations

from autox3d.core.tables import read_task, write_table
from autox3d.datasets.catalogue import catalogue
from autox3d.runtime.program import arguments, run


def main() -> None:
    files = arguments(__doc__, "videos", "index", "clips", "report")
    clips, classes, account = catalogue(files.videos, files.index)
    write_table(clips, files.clips, classes, read_task(files.videos))
    account.write(files.report)
    of = account.total
    print(f"{of.listed} videos: {of.usable} usable, {of.missing} missing, {of.refused} refused")


if __name__ == "__main__":
    run(main)
