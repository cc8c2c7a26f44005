"""Stage `annotate`: lists the videos with their classes and splits, and renders the demo's.

    python -m autox3d.stages.annotate --videos data/videos.parquet --lists data/lists

The videos and their annotation files lie under the data root, AUTOX3D_RAW (data/raw).
"""

from __future__ import annotations

import functools
import os

from autox3d.core import environment, settings
from autox3d.datasets import annotations, demo, listing, scene
from autox3d.runtime.program import arguments, run
from autox3d.runtime.progress import progress


def main() -> None:
    files = arguments(__doc__, "videos", "lists")
    params = settings.load().annotate
    root = environment.raw()
    if params.dataset == "demo":
        counts = {"train": params.demo.train, "val": params.demo.val, "test": params.demo.test}
        kinds = scene.motions(params.demo.paces, params.demo.speed)
        demo.render(
            root / params.videos,
            counts,
            params.demo.seed,
            processes=len(os.sched_getaffinity(0)),
            kinds=kinds,
            progress=functools.partial(progress, what="render", unit="videos"),
        )
        found = demo.describe(params.videos, counts, kinds)
    else:
        found = annotations.read(params.dataset, root, params.videos, params.files)
    look_on = functools.partial(progress, what="look", unit="videos")
    rows = listing.videos(found, root, params.videos, params.shards, look_on)
    listing.write(rows, found.classes, files.videos, files.lists, params.shards)
    there = (rows["status"] == "listed").sum()
    print(f"{len(rows)} videos of {len(found.classes)} classes, {there} of them there")


if __name__ == "__main__":
    run(main)
