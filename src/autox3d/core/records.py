"""The JSON files that stages write for each other and for the report, one frozen table for each.

`write` keeps the order of the fields; `read` checks every key and type, and refuses unknown keys.
Accuracies are shares in [0, 1], costs are G multiply-adds per view. In a file, metrics are stored
under their own names beside the other keys; the task defines the names, and the first one is the
headline. `autox3d.core.scores` has the record of a test, `autox3d.core.search_records` those of the
search, `autox3d.core.curves` the CSV files.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from autox3d.core import atomic
from autox3d.core.intervals import wilson
from autox3d.core.record_files import Content, read_record, without
from autox3d.core.schema import table
from autox3d.core.scores import CLASSIFY, Evaluation


@table
class Counts:
    """Videos of a data set, or of a part of it."""

    listed: int
    usable: int
    missing: int
    refused: int


@table
class RefusedVideo:
    """One video that the pipeline does not use, and why."""

    key: str
    path: str  # under the folder of the videos
    reason: str  # a short code: `truncated`
    message: str


@table
class SameContent:
    """Videos of one split that have the same content, but not the same label."""

    split: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]  # of each


@table
class Account:
    """results/data.json: how many of the listed videos are usable, missing or refused, and why."""

    total: Counts
    classes: int
    encoders: tuple[str, ...]  # ffmpeg's versions
    refused_by_reason: dict[str, int]
    by_split: dict[str, Counts]
    by_class: dict[str, Counts]
    refused_videos: tuple[RefusedVideo, ...]
    two_labels: tuple[SameContent, ...] = ()

    def content(self) -> Content:
        """The content of the JSON file."""
        content = asdict(self)
        rows = [{"class": name, **counts} for name, counts in content["by_class"].items()]
        content = without(content, "two_labels", ())
        return content.pop("total") | content | {"by_class": rows}

    def write(self, path: Path) -> None:
        atomic.write_json(path, self.content())

    @classmethod
    def read(cls, path: Path) -> Account:
        """Reads the file; raises Refused if it is missing or damaged."""

        def nested(content: Content) -> Content:
            total = {key: content.pop(key) for key in ("listed", "usable", "missing", "refused")}
            return {"total": total, **content, "by_class": _by_class(content["by_class"])}

        return read_record(path, cls, nested)


@table
class Provenance:
    """*_made.json: how a result was made, kept apart from the reproducible outputs.

    Stages that use no random numbers have no seed.
    """

    commit: str  # of the code, with a `+` if it had changes; empty outside of git
    device: str
    processes: int
    hours: float  # of wall time
    torch: str  # versions
    python: str
    seed: int | None = None
    data_wait: float | None = None  # share of the time in which a training waited for clips
    kernels: str | None = None  # the table whose kernels a training or a search took

    def content(self) -> Content:
        """The content of the JSON file."""
        content = asdict(self)
        for key in ("seed", "data_wait", "kernels"):
            content = without(content, key, None)
        return content

    def write(self, path: Path) -> None:
        atomic.write_json(path, self.content())

    @classmethod
    def read(cls, path: Path) -> Provenance:
        """Reads the file; raises Refused if it is missing or damaged."""
        return read_record(path, cls)


@table
class Seconds:
    """Seconds for all views of a video: median and quartiles over the repeats."""

    median: float
    low: float
    high: float


@table
class Latency:
    """results/latency/<name>.json: latency of a network; the file begins with the provenance."""

    made: Provenance
    net: str
    views: int
    frames: int
    side: int  # px
    dtype: str
    repeats: int
    batched: Seconds
    one_by_one: Seconds
    peak_mb: float  # MB

    def content(self) -> Content:
        """The content of the JSON file."""
        content = asdict(self)
        del content["made"]
        return self.made.content() | content

    def write(self, path: Path) -> None:
        atomic.write_json(path, self.content())

    @classmethod
    def read(cls, path: Path) -> Latency:
        """Reads the file; raises Refused if it is missing or damaged."""
        keys = ("commit", "device", "processes", "hours", "torch", "python")

        def nested(content: Content) -> Content:
            made = {key: content.pop(key) for key in keys}
            return {"made": made, **content}

        return read_record(path, cls, nested)


@table
class Summary:
    """results/summary/<name>.json: the five numbers by which networks are compared.

    The only file of a network that `dvc metrics show` and `dvc exp show` print: no provenance, and
    nothing else that a table of networks would have no use for.
    """

    metric: str  # name of the headline metric, and its key in the file
    value: float | None  # with all crops that were tested; None: no video has a label
    low: float | None  # where its 95 % interval begins; None: it is no share of videos
    gmacs: float  # of one view with these crops
    params_m: float  # parameters, millions
    ms: float  # for all views of a video, in batches

    def content(self) -> Content:
        """The content of the JSON file."""
        content = asdict(self)
        return {content.pop("metric"): content.pop("value"), **content}

    def write(self, path: Path) -> None:
        atomic.write_json(path, self.content())

    @classmethod
    def of(cls, tested: Evaluation, latency: Latency) -> Summary:
        """The numbers of a network, from the records of its test and of its latency."""
        metric, value = next(iter(tested.headline.metrics.items()))
        low = None
        if value is not None and tested.task == CLASSIFY:
            low = round(wilson(round(value * tested.labelled), tested.labelled).low, 4)
        return cls(
            metric=metric,
            value=value,
            low=low,
            gmacs=tested.gmacs(tested.crops),
            params_m=tested.params / 1e6,
            ms=round(1e3 * latency.batched.median, 3),
        )


@table
class ExplainedClip:
    """The centre clip of one video, with heat maps."""

    key: str
    actual: str | None  # None: the video has no label
    predicted: str
    score: float  # of the predicted class
    lit: tuple[str, ...]  # the classes that have a heat map
    by_frame: tuple[float, ...]  # each frame's share of the evidence for the predicted class
    shown: tuple[int, ...]  # the frames in the picture
    picture: str  # JPEG, base64


@table
class ConfusedPair:
    """Two classes that the network confuses, with an example of each."""

    actual: str
    predicted: str
    videos: int  # of the actual class that are classified as the predicted one
    of: int  # all videos of the actual class
    clips: tuple[ExplainedClip, ...]


@table
class WrongVideo:
    """A video that the network answers wrongly, and how sure of it the network is."""

    key: str
    actual: str
    predicted: str
    score: float  # of the predicted class
    loss: float  # nats: minus the logarithm of the actual class's score
    picture: str  # frames of the centre clip in a row: JPEG, base64


@table
class Explanation:
    """results/explain/<name>.json: heat maps of a few clips, and the worst mistakes."""

    net: str
    split: str
    right: tuple[ExplainedClip, ...]
    confused: tuple[ConfusedPair, ...]
    wrong: tuple[WrongVideo, ...] = ()  # the largest loss first

    def write(self, path: Path) -> None:
        atomic.write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Explanation:
        """Reads the file; raises Refused if it is missing or damaged."""
        return read_record(path, cls)


def _by_class(rows: list[Content]) -> Content:
    return {row["class"]: {k: v for k, v in row.items() if k != "class"} for row in rows}
