"""Stage `index`: writes one table of all usable clips, and counts what is missing or refused.

python -m autox3d.stages.index --videos data/videos.parquet --index data/index
    --clips data/clips.parquet --unused data/unused.csv --report results/data.json
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.core.tables import read_classes, read_table, read_task, write_table
from autox3d.datasets import catalogue, losses
from autox3d.runtime.program import arguments, run


def main() -> None:
    """The table of unused videos is written even where too many of them stop the stage."""
    files = arguments(__doc__, "videos", "index", "clips", "unused", "report")
    classes = read_classes(files.videos)
    rows = catalogue.refuse_copies(catalogue.join(read_table(files.videos), files.index))
    unused = losses.unused(rows)
    losses.write(unused, files.unused)
    losses.refuse_too_many(rows, settings.load().transcode.max_lost, files.unused)
    clips = catalogue.clips(rows, classes, files.videos)
    account = catalogue.account(rows, classes)
    write_table(clips, files.clips, classes, read_task(files.videos))
    account.write(files.report)
    of = account.total
    print(f"{of.listed} videos: {of.usable} usable, {of.missing} missing, {of.refused} refused")
    for line in (
        *losses.lines(unused, files.unused),
        *losses.contradictions(account, files.report),
    ):
        print(line)


if __name__ == "__main__":
    run(main)
