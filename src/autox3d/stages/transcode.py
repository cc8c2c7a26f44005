"""Stage `transcode`: checks the videos of one shard and encodes them for sparse random access.

    python -m autox3d.stages.transcode --list data/lists/0.parquet --shard data/shards/0.tar
        --index data/index/0.parquet

The videos are in the data root, AUTOX3D_RAW (data/raw). Each core encodes one at a time.
"""

from __future__ import annotations

import os
from functools import partial

from autox3d.core import environment, reasons, settings
from autox3d.ingest.transcode import transcode
from autox3d.runtime.program import arguments, run
from autox3d.runtime.progress import progress


def main() -> None:
    files = arguments(__doc__, "list", "shard", "index")
    refused = transcode(
        files.list,
        environment.raw(),
        files.shard,
        files.index,
        settings.load().transcode,
        workers=len(os.sched_getaffinity(0)),
        progress=partial(progress, what=f"transcode {files.list.stem}", unit="videos"),
    )
    if refused:
        print(f"{files.list}: {len(refused)} refused: {reasons.first_of(refused)}")


if __name__ == "__main__":
    run(main)
