"""Stage `annotate`: lists the videos with classes and splits, and renders the demo's videos.

    python -m autox3d.stages.annotate --videos data/videos.parquet --lists data/lists

The videos and their annotation files are in the data root, AUTOX3D_RAW (data/raw).
"""

from __future__ import annotations

from functools import partial

from autox3d.core import environment, settings
from autox3d.datasets import (
    annotations,
    demo,
    demo_boxes,
    demo_labels,
    demo_streams,
    listing,
    subset,
)
from autox3d.runtime.program import arguments, run
from autox3d.runtime.progress import progress

GENERATED = {
    annotations.DEMO: demo.prepare,
    annotations.DEMO_BOXES: demo_boxes.prepare,
    annotations.DEMO_LABELS: demo_labels.prepare,
    annotations.DEMO_STREAMS: demo_streams.prepare,
}


def main() -> None:
    files = arguments(__doc__, "videos", "lists")
    everything = settings.load()
    params, searched = everything.annotate, everything.subset
    root, folder = environment.raw(), params.videos
    if params.dataset in GENERATED:
        rendering = partial(progress, what="render", unit="videos")
        annotated = GENERATED[params.dataset](root, folder, params.demo, rendering)
    else:
        annotated = annotations.read(params.dataset, root, folder, params.files)
    if searched.ids is None:  # checked here, and not hours of transcoding later
        subset.check_count(searched.classes, len(annotated.classes))
    looking = partial(progress, what="look", unit="videos")
    rows = listing.list_videos(annotated, root, folder, params.shards, looking)
    listing.write(rows, annotated, files.videos, files.lists, params.shards)
    on_disk = (rows["status"] == "listed").sum()
    print(f"{len(rows)} videos of {len(annotated.classes)} classes, {on_disk} of them on disk")
    for line in listing.remarks(rows, annotated, root):
        print(line)


if __name__ == "__main__":
    run(main)
