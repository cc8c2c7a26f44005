"""Stage `subset`: the clips that the search uses, in two halves.

    python -m autox3d.stages.subset --clips data/clips.parquet --subset data/subset.parquet

Official lists of ids lie under the data root, AUTOX3D_RAW (data/raw).
"""

from __future__ import annotations

from autox3d.core import environment, settings
from autox3d.core.tables import read_classes, read_table, write_table
from autox3d.datasets import subset
from autox3d.runtime.program import arguments, run


def main() -> None:
    files = arguments(__doc__, "clips", "subset")
    params = settings.load().subset
    clips, classes = read_table(files.clips), read_classes(files.clips)
    if params.ids is None:
        counts = {"train": params.train, "val": params.val}
        chosen = subset.by_rule(clips, classes, params.classes, counts, params.seed)
    else:
        root = environment.raw()
        lists = {"train": root / params.ids.train, "val": root / params.ids.val}
        chosen = subset.by_ids(clips, lists)
    chosen, kept = subset.renumber(subset.halve(chosen, classes, params.seed), classes)
    write_table(chosen, files.subset, kept)
    splits = chosen["split"].value_counts()
    print(f"{len(kept)} classes, {splits.get('train', 0)} train, {splits.get('val', 0)} val clips")


if __name__ == "__main__":
    run(main)
