"""The command `predict`: of files, and of a stream while it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from autox3d.commands import answers
from autox3d.commands.given import video_files
from autox3d.commands.parser import Commands, positive, share
from autox3d.core.errors import Refused

if TYPE_CHECKING:
    from autox3d.inference.network import Prediction

PIPE = "-"  # the argument for standard input
TOP, CLIPS = 5, 10
APART = (  # options of which only one makes sense
    ("csv", "json"),
    ("csv", "over_time"),
    ("csv", "top"),
    ("scores", "top"),
    *(("threshold", one) for one in ("csv", "scores", "live")),
    *(("live", one) for one in ("csv", "over_time", "render", "features", "clips", "videos")),
    *(("boxes", one) for one in ("live", "csv", "scores", "over_time", "features", "clips")),
)


def add_to(commands: Commands) -> None:
    """Adds the command predict."""
    example = "autox3d predict video.mp4 --weights data/weights/s --top 3"
    one = commands.add("predict", predict, example)
    one.add_argument(
        "videos", nargs="*", metavar="VIDEO", help="a file, a folder, a pattern, or - for a pipe"
    )
    one.add_argument("--weights", type=Path, required=True, help="a folder such as data/weights/s")
    one.add_argument("--top", type=positive, help=f"number of classes to print; {TOP} by default")
    one.add_argument(
        "--threshold", type=share, metavar="SHARE", help="print all classes with such a score"
    )
    one.add_argument("--scores", choices=["all"], help="all: the scores of every class")
    one.add_argument("--clips", type=positive, help=f"clips per video; {CLIPS} by default")
    one.add_argument(
        "--crops",
        choices=["lcr", "center"],
        default="lcr",
        help="left-centre-right (default) or centre crops",
    )
    one.add_argument(
        "--over-time", action="store_true", help="also print the best class of each clip"
    )
    one.add_argument("--json", action="store_true", help="print one JSON object per line")
    one.add_argument("--csv", action="store_true", help="print a table, with one row a video")
    one.add_argument(
        "--features",
        type=Path,
        metavar="OUT",
        help="also write what the last layer sees, one row a video: an .npz or .parquet file",
    )
    one.add_argument(
        "--render",
        type=Path,
        metavar="OUT",
        help="annotated video: an .mp4 file, or a folder for several",
    )
    one.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="say what each box does: a CSV file with second,x1,y1,x2,y2, and path for several "
        "videos (docs/BOXES.md)",
    )
    one.add_argument(
        "--live",
        metavar="ADDRESS",
        help="answer while it runs: a camera (/dev/video0), rtsp://..., http://...",
    )


def predict(args: argparse.Namespace) -> None:
    """Classify videos, and print the most probable classes with their scores."""
    if PIPE in args.videos:
        if len(args.videos) > 1:
            raise Refused("-: standard input is predicted alone. Leave the other videos out.")
        args.videos, args.live = [], PIPE
    _refuse_pairs(args)
    if not (args.videos or args.live):
        raise Refused("VIDEO: none is given. Give a file, a folder, -, or --live ADDRESS.")
    args.top = args.top or (TOP if args.threshold is None else sys.maxsize)
    if args.live:
        from autox3d.commands import live

        live.answer(args)
    elif args.boxes:
        from autox3d.commands import predict_boxes

        predict_boxes.answer(args)
    else:
        _predict_files(args)


def _refuse_pairs(args: argparse.Namespace) -> None:
    for first, other in APART:
        if _given(args, first) and _given(args, other):
            one, two = (_word(name, args) for name in (first, other))
            raise Refused(f"{one}: does not go with {two}. Leave one of them out.")


def _given(args: argparse.Namespace, name: str) -> bool:
    """Whether an argument is there; a threshold of 0 is."""
    value = getattr(args, name)
    return value is not None and value is not False and value != []


def _word(name: str, args: argparse.Namespace) -> str:
    """What the user has typed for an argument."""
    if name == "live" and args.live == PIPE:
        return PIPE
    return "VIDEO" if name == "videos" else f"--{name.replace('_', '-')}"


def _predict_files(args: argparse.Namespace) -> None:
    from autox3d.inference.network import load
    from autox3d.ingest.source import BadVideo

    draw = _renderer() if args.render else None
    paths = video_files(args.videos)
    targets = answers.rendered(paths, args.render) if args.render else {}
    table = answers.Features(args.features) if args.features else None
    network = load(args.weights)
    show = answers.shown(args, network.classes)
    bad, count = False, args.clips or CLIPS
    for path, prediction in network.predict_all(paths, count, args.crops, table is not None):
        try:
            if isinstance(prediction, BadVideo):
                raise prediction
            show(prediction)
            if table:
                table.add(prediction)
            if prediction.lost:
                print(f"{path}: warning: {prediction.lost}.", file=sys.stderr, flush=True)
            if draw and path in targets:
                draw(prediction, targets[path])
                print(f"{targets[path]}: drawn", file=sys.stderr, flush=True)
        except BadVideo as error:
            bad = True
            line = f"{path}: {error}. Give another file, or leave it out."
            print(line, file=sys.stderr, flush=True)
    if table:
        print(table.write(network.classes), file=sys.stderr, flush=True)
    if bad:
        sys.exit(1)


def _renderer() -> Callable[[Prediction, Path], None]:
    from autox3d.inference.render import render  # needs packages that the rest does not

    return render
