"""`predict --boxes`: what each box of a film does at its moment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from autox3d.commands import answers
from autox3d.commands.given import video_files
from autox3d.core.errors import Refused
from autox3d.datasets import box_rows
from autox3d.inference.boxes import Asked, BoxesPrediction, predict
from autox3d.inference.network import load
from autox3d.ingest.source import BadVideo


def answer(args: argparse.Namespace) -> None:
    """Prints the boxes of each video in order of time, with their best classes."""
    paths = video_files(args.videos)
    asked = of_videos(args.boxes, paths)
    targets = answers.rendered(paths, args.render) if args.render else {}
    network = load(args.weights)
    if network.task.boxed is None:
        raise Refused(
            f"{args.weights}: trained to {network.task.name} whole clips. Leave --boxes out, or "
            "train on a table of boxes."
        )
    bad = False
    for path in paths:
        try:
            found = predict(network, path, asked[path], args.crops)
            (_line if args.json else _text)(found, args.top, args.threshold)
            if found.lost:
                print(f"{path}: warning: {found.lost}.", file=sys.stderr, flush=True)
            if path in targets:
                from autox3d.inference.render import render_boxes  # needs packages of its own

                render_boxes(found, targets[path])
                print(f"{targets[path]}: drawn", file=sys.stderr, flush=True)
        except BadVideo as error:
            bad = True
            line = f"{path}: {error}. Give another file, or leave it out."
            print(line, file=sys.stderr, flush=True)
    if bad:
        sys.exit(1)


def of_videos(file: Path, paths: Sequence[Path]) -> dict[Path, list[Asked]]:
    """The boxes of each video, by the end of its path; without a column `path` all are of the one.

    Raises:
        Refused: a video has no box, or there are several and the file has no paths.
    """
    rows = list(box_rows.of_films(file))
    if len(paths) > 1 and not all(path for path, _, _ in rows):
        raise Refused(f"{file}: has no column 'path', and {len(paths)} videos are given. Add it.")
    found: dict[Path, list[Asked]] = {}
    for path in paths:
        found[path] = [
            Asked(second, corners)
            for name, second, corners in rows
            if not name or path.parts[-len(Path(name).parts) :] == Path(name).parts
        ]
        if not found[path]:
            raise Refused(
                f"{file}: no box is of {path}. Write its path as it ends, or leave it out."
            )
    return found


def _line(found: BoxesPrediction, count: int, threshold: float | None) -> None:
    boxes = [
        {
            "second": round(one.second, 3),
            "box": [round(x, 6) for x in one.corners],
            "top": answers.named(answers.over(one.top(found.classes, count), threshold)),
        }
        for one in found.answers
    ]
    lost = {"lost": found.lost} if found.lost else {}
    print(answers.line_of({"video": str(found.path), "boxes": boxes, **lost}), flush=True)


def _text(found: BoxesPrediction, count: int, threshold: float | None) -> None:
    print(found.path)
    for one in found.answers:
        place = " ".join(f"{x:.3f}" for x in one.corners)
        print(f"  {one.second:8.2f} s  {place}")
        for name, score in answers.over(one.top(found.classes, count), threshold):
            print(f"    {100 * score:5.1f} %  {name}")
    sys.stdout.flush()
