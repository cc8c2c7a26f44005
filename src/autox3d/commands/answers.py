"""How `predict` answers: as text, JSON lines or a CSV table, and a file of features.

N videos, C classes, F features
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autox3d.core import atomic
from autox3d.core.errors import Refused

if TYPE_CHECKING:
    import numpy as np

    from autox3d.inference.network import Prediction

Answers = list[tuple[str, float]]  # classes with their scores
COLUMNS = ("video", "class", "score", "clips", "lost")  # of --csv, before the scores of all classes


def shown(args: argparse.Namespace, classes: Sequence[str]) -> Callable[[Prediction], None]:
    """The function that prints one video as the arguments ask; a table's header is printed now."""
    count = len(classes) if args.scores else args.top
    if args.csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        every = [f"score:{name}" for name in classes] if args.scores else []
        rows.writerow([*COLUMNS, *every])
        return lambda prediction: _row(prediction, rows, bool(args.scores))
    if args.json:
        return lambda prediction: _line(prediction, count, args.threshold, args.over_time)
    return lambda prediction: _text(prediction, count, args.threshold, args.over_time)


def _row(prediction: Prediction, rows: Any, every: bool) -> None:
    ((name, score),) = prediction.top(1)
    row = [prediction.path, name, f"{score:.6f}", len(prediction.moments), prediction.lost]
    rows.writerow([*row, *(f"{one:.6f}" for one in prediction.scores.tolist() if every)])
    sys.stdout.flush()


def over(top: Answers, threshold: float | None) -> Answers:
    """Those with at least this score; None: all."""
    return [(name, score) for name, score in top if threshold is None or score >= threshold]


def _line(prediction: Prediction, count: int, threshold: float | None, over_time: bool) -> None:
    record: dict[str, Any] = {"video": str(prediction.path), "clips": len(prediction.moments)}
    record["top"] = named(over(prediction.top(count), threshold))
    record |= {"lost": prediction.lost} if prediction.lost else {}
    if over_time:
        record["over_time"] = [
            {
                "begin": round(begin, 3),
                "end": round(end, 3),
                "top": named(over(top, threshold)),
            }
            for begin, end, top in _moments(prediction, count)
        ]
    print(line_of(record), flush=True)


def _text(prediction: Prediction, count: int, threshold: float | None, over_time: bool) -> None:
    """The classes of a video; over time the best one of each clip, or all over a threshold."""
    print(prediction.path)
    for name, score in over(prediction.top(count), threshold):
        print(f"  {100 * score:5.1f} %  {name}")
    each = 1 if threshold is None else count
    for begin, end, top in _moments(prediction, each) if over_time else ():
        for name, score in over(top, threshold):
            print(f"  {begin:8.2f} to {end:8.2f} s  {100 * score:5.1f} %  {name}")
    sys.stdout.flush()


def _moments(prediction: Prediction, count: int) -> list[tuple[float, float, Answers]]:
    from autox3d.inference.network import best

    return [
        (moment.begin, moment.end, best(moment.scores, prediction.classes, count))
        for moment in prediction.moments
    ]


def line_of(record: dict[str, Any]) -> str:
    """The record as a line of JSON that stdout can encode; other characters are escaped."""
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(record)
    return line


def named(top: Answers) -> list[dict[str, Any]]:
    return [{"class": name, "score": round(score, 6)} for name, score in top]


class Features:
    """Collects the features and scores of videos, for one file with a row a video.

    Raises:
        Refused: the ending of `out` is another than .npz and .parquet.
    """

    def __init__(self, out: Path) -> None:
        if out.suffix not in (".npz", ".parquet"):
            raise Refused(f"{out}: cannot be written. Give a name that ends in .npz or .parquet.")
        if out.suffix == ".parquet":
            import pyarrow  # noqa: F401  # a missing extra is told before any work
        self._out = out
        self._rows: list[tuple[str, np.ndarray, np.ndarray]] = []

    def add(self, prediction: Prediction) -> None:
        """Takes one video's."""
        found = prediction.features.numpy(), prediction.scores.numpy()
        self._rows.append((str(prediction.path), *found))

    def write(self, classes: Sequence[str]) -> str:
        """Writes the file, and returns a line about it.

        Raises:
            Refused: there is no row.
        """
        if not self._rows:
            raise Refused(f"{self._out}: not written: no video was decoded. Give other videos.")
        with atomic.replacing(self._out) as part:
            (_write_npz if self._out.suffix == ".npz" else _write_parquet)(
                part, self._rows, classes
            )
        count, size = len(self._rows), len(self._rows[0][1])
        return f"{self._out}: {size} features of each of {count} videos"


def _write_npz(
    path: Path, rows: list[tuple[str, np.ndarray, np.ndarray]], classes: Sequence[str]
) -> None:
    """`video` (N,), `features` (N, F), `scores` (N, C), `classes` (C,)."""
    import numpy as np

    videos, features, scores = zip(*rows, strict=True)
    with path.open("wb") as file:
        np.savez(
            file,
            video=np.array(videos),
            features=np.stack(features),
            scores=np.stack(scores),
            classes=np.array(classes),
        )


def _write_parquet(
    path: Path, rows: list[tuple[str, np.ndarray, np.ndarray]], classes: Sequence[str]
) -> None:
    """The columns `video`, `features` and `scores`; the classes are in the schema's metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    videos, features, scores = zip(*rows, strict=True)
    readable = [name.encode(errors="backslashreplace").decode() for name in videos]
    lists = {"features": list(features), "scores": list(scores)}
    columns: dict[str, Any] = {"video": readable}
    columns |= {name: pa.array(one, pa.list_(pa.float32())) for name, one in lists.items()}
    table = pa.table(columns).replace_schema_metadata({"classes": json.dumps(list(classes))})
    parquet.write_table(table, path)


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
