"""Stage `subset`: chooses the clips of the search, and splits them into two halves.

    python -m autox3d.stages.subset --clips data/clips.parquet --subset data/subset.parquet

The paths of official lists of ids are relative to the data root, AUTOX3D_RAW (data/raw).
"""

from __future__ import annotations

from autox3d.core import environment, settings
from autox3d.core.errors import Refused
from autox3d.core.tables import read_classes, read_table, read_task, write_table
from autox3d.datasets import subset
from autox3d.runtime.program import arguments, run


def main() -> None:
    files = arguments(__doc__, "clips", "subset")
    everything = settings.load()
    params = everything.subset
    if not everything.searches:
        pages = " ".join(f"page@{name}" for name in everything.pages)
        raise Refused(
            "params.yaml: 'scale', 'studies' and 'expand.base' are empty, so nothing needs a "
            f"search. Run: dvc repro {pages}. To search, add a size to 'scale'."
        )
    root = environment.raw()
    clips, classes = read_table(files.clips), read_classes(files.clips)
    chosen, kept = subset.choose(clips, classes, params, root)
    write_table(chosen, files.subset, kept, read_task(files.clips))
    counts = chosen["split"].value_counts()
    print(f"{len(kept)} classes, {counts.get('train', 0)} train, {counts.get('val', 0)} val clips")


if __name__ == "__main__":
    run(main)
