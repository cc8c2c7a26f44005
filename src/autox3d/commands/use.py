"""Commands that use a trained network: predict, export, bench."""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autox3d.commands.parser import Commands, positive
from autox3d.core import video_names
from autox3d.core.errors import Refused

if TYPE_CHECKING:
    from autox3d.inference.network import Prediction

FORMS = ("fast", "folded", "plain", "bfloat16", "pt2", "onnx")


def add_to(commands: Commands) -> None:
    """Adds the commands predict, export and bench."""
    folder = "data/weights/s"
    example = f"autox3d predict video.mp4 --weights {folder} --top 3"
    _add_predict(commands.add("predict", predict, example))
    example = f"autox3d export --weights {folder} --out s.onnx"
    _add_export(commands.add("export", export, example))
    example = f"autox3d bench {folder} x3d_s --repeats 20"
    _add_bench(commands.add("bench", bench, example))


def _add_predict(one: argparse.ArgumentParser) -> None:
    one.add_argument("videos", nargs="+", metavar="VIDEO", help="a file, a folder or a pattern")
    one.add_argument("--weights", type=Path, required=True, help="a folder such as data/weights/s")
    one.add_argument(
        "--top", type=positive, default=5, help="number of classes to print; 5 by default"
    )
    one.add_argument(
        "--clips", type=positive, default=10, help="number of clips per video; 10 by default"
    )
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
    one.add_argument(
        "--render",
        type=Path,
        metavar="OUT",
        help="annotated video: an .mp4 file, or a folder for several",
    )


def _add_export(one: argparse.ArgumentParser) -> None:
    one.add_argument("--weights", type=Path, required=True, help="a folder such as data/weights/s")
    one.add_argument("--out", type=Path, required=True, help="a .pt2 (PyTorch) or .onnx file")
    one.add_argument(
        "--crops",
        choices=["lcr", "center"],
        default="lcr",
        help="the test whose crop size it takes",
    )
    one.add_argument(
        "--int8", nargs="+", metavar="VIDEO", help="quantise to int8, calibrated on these"
    )


def _add_bench(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "networks",
        nargs="+",
        type=Path,
        metavar="NETWORK",
        help="a folder of weights, a genotype, or a name such as x3d_s",
    )
    one.add_argument(
        "--forms", nargs="+", choices=FORMS, default=["fast"], help="variants; fast by default"
    )
    one.add_argument("--views", type=positive, default=30, help="views per video; 30 by default")
    one.add_argument(
        "--batch", type=positive, help="views per forward pass; default: as in predict"
    )
    one.add_argument("--repeats", type=positive, default=500, help="timed runs; 500 by default")
    one.add_argument("--warmup", type=positive, default=20, help="untimed runs; 20 by default")
    one.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    one.add_argument(
        "--classes", type=positive, default=400, help="classes of a genotype; 400 by default"
    )
    one.add_argument("--json", action="store_true", help="print JSON")


def predict(args: argparse.Namespace) -> None:
    """Classify videos, and print the most probable classes with their scores."""
    from autox3d.inference.network import load
    from autox3d.ingest.source import BadVideo

    draw = _renderer() if args.render else None
    paths = video_files(args.videos)
    targets = rendered(paths, args.render) if args.render else {}
    network = load(args.weights)
    bad = False
    for path, prediction in network.predict_all(paths, args.clips, args.crops):
        try:
            if isinstance(prediction, BadVideo):
                raise prediction
            show(prediction, args)
            if prediction.lost:
                print(f"{path}: warning: {prediction.lost}.", file=sys.stderr, flush=True)
            if draw and path in targets:
                draw(prediction, targets[path])
                print(f"{targets[path]}: drawn", file=sys.stderr, flush=True)
        except BadVideo as error:
            bad = True
            line = f"{path}: {error}. Give another file, or leave it out."
            print(line, file=sys.stderr, flush=True)
    if bad:
        sys.exit(1)


def _renderer() -> Callable[[Prediction, Path], None]:
    from autox3d.inference.render import render  # needs packages that the rest does not

    return render


def video_files(videos: list[str]) -> list[Path]:
    """Lists the files of all arguments once each; a folder or pattern is sorted by name.

    Raises:
        Refused: a folder or pattern contains no video, or one is an address.
    """
    if addresses := [given for given in videos if "://" in given]:
        raise Refused(f"{addresses[0]}: an address. Download the video, and give the file.")
    return list(dict.fromkeys(path for given in videos for path in _files(given)))


def _files(given: str) -> Iterator[Path]:
    path, there = Path(given), []
    if path.is_dir():
        there = _videos_below(path)
    elif not path.exists() and glob.has_magic(given):
        names = glob.glob(given, recursive=True)  # noqa: PTH207  # also absolute ones
        files = (Path(name) for name in names if Path(name).is_file())
        there = [file for file in files if not video_names.ignored(file.name)]
    else:
        there = [path]
    if not there:
        raise Refused(f"{given}: no video found. Check the path.")
    yield from sorted(there)


def _videos_below(folder: Path) -> list[Path]:
    """The files of a folder whose names are a video's; a line on stderr says what is left out."""
    files = [
        path
        for path in folder.rglob("*")
        if not path.is_dir() and not any(map(video_names.ignored, path.relative_to(folder).parts))
    ]
    videos = [path for path in files if video_names.is_video(path)]
    others = sorted(set(files) - set(videos))
    if others:
        print(
            f"{folder}: {len(others)} of {len(files)} files are skipped, whose names are no "
            f"video's: {video_names.kinds(others)} (first: {others[0]}). Name a file to try it.",
            file=sys.stderr,
            flush=True,
        )
    return videos


def show(prediction: Prediction, args: argparse.Namespace) -> None:
    """Prints the classes of one video, as text or as a line of JSON."""
    from autox3d.inference.network import best

    moments = [
        (moment.begin, moment.end, best(moment.scores, prediction.classes, args.top))
        for moment in prediction.moments
        if args.over_time
    ]
    if args.json:
        record: dict[str, Any] = {"video": str(prediction.path), "clips": len(prediction.moments)}
        record["top"] = named(prediction.top(args.top))
        record |= {"lost": prediction.lost} if prediction.lost else {}
        if args.over_time:
            record["over_time"] = [
                {"begin": round(begin, 3), "end": round(end, 3), "top": named(top)}
                for begin, end, top in moments
            ]
        print(line_of(record), flush=True)
        return
    print(prediction.path)
    for name, score in prediction.top(args.top):
        print(f"  {100 * score:5.1f} %  {name}")
    for begin, end, ((name, score), *_) in moments:
        print(f"  {begin:8.2f} to {end:8.2f} s  {100 * score:5.1f} %  {name}")
    sys.stdout.flush()


def line_of(record: dict[str, Any]) -> str:
    """The record as a line of JSON that stdout can encode; other characters are escaped."""
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(record)
    return line


def named(top: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"class": name, "score": round(score, 6)} for name, score in top]


def rendered(paths: list[Path], out: Path) -> dict[Path, Path]:
    """Maps each video to its annotated one: `out`, or a file of the same name in that folder.

    Raises:
        Refused: one would overwrite another, or is not an .mp4; nothing has been written.
    """
    if len(paths) == 1 and not out.is_dir():
        if out.suffix != ".mp4":
            raise Refused(f"{out}: only MP4 is written. Give a name that ends in .mp4.")
        targets = {paths[0]: out}
    else:
        targets = {path: out / f"{path.stem}.mp4" for path in paths}
    names: dict[Path, Path] = {}
    for path, target in targets.items():
        if target in names:
            raise Refused(f"{target}: of {names[target]} and of {path}. Render one at a time.")
        if target.exists() and path.exists() and target.samefile(path):
            raise Refused(f"{target}: is the video itself. Give another name.")
        names[target] = path
    return targets


def export(args: argparse.Namespace) -> None:
    """Export a network to one file for other programs, and check its scores."""
    from autox3d.inference.export import calibration, export
    from autox3d.vision.clips.views import test_size
    from autox3d.vision.models import weights

    trained = weights.load(args.weights)
    side = test_size(args.crops, trained.genotype.input.short, trained.genotype.input.crop)
    clips = calibration(trained, video_files(args.int8), args.crops) if args.int8 else None
    exported = export(trained, args.out, side, clips)
    print(
        f"{args.out}: {exported.bytes / 1e6:.2f} MB for {side}x{side} px; scores within "
        f"{exported.difference:.1e} of the network's on random clips"
    )


def bench(args: argparse.Namespace) -> None:
    """Time networks side by side on all views of a video (synthetic input), as Auto-TSNet does."""
    from autox3d.inference.benchmark import benchmark, markdown

    rows = benchmark(
        args.networks,
        args.forms,
        views=args.views,
        batch=args.batch,
        repeats=args.repeats,
        warmup=args.warmup,
        device=args.device,
        classes=args.classes,
    )
    print(json.dumps(rows, indent=2) if args.json else markdown(rows))
