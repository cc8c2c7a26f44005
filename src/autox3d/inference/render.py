"""Draws the predictions of a network on a video, moment by moment, or box by box.

The text is a subtitle file (Advanced SubStation Alpha) with a line for each moment, which ffmpeg
draws.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

import ffmpeg
import matplotlib

from autox3d.core import atomic
from autox3d.inference.boxes import BoxesPrediction
from autox3d.inference.network import Prediction, best
from autox3d.ingest import source
from autox3d.ingest.encode import program
from autox3d.ingest.source import BadVideo

FONT = "DejaVuSans.ttf"  # comes with matplotlib; the system may have no fonts
HEADER = """[Script Info]
ScriptType: v4.00+
PlayResY: 360

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, OutlineColour, BorderStyle, Outline, Alignment, \
MarginL, MarginR, MarginV
Style: top1,DejaVu Sans,22,&H00FFFFFF,&H60000000,3,4,7,12,12,12

[Events]
Format: Start, End, Style, Text
"""
BOXES = """[Script Info]
ScriptType: v4.00+
PlayResX: {width}
PlayResY: {height}

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, OutlineColour, BorderStyle, Outline, Alignment, \
MarginL, MarginR, MarginV
Style: box,DejaVu Sans,{size},&HFF000000,&H0000D7FF,1,{line},7,0,0,0
Style: words,DejaVu Sans,{size},&H00FFFFFF,&H60000000,3,{line},7,0,0,0

[Events]
Format: Start, End, Style, Text
"""
SHOWN = 0.5  # s before and after its moment that a box is shown at most
LIKELY = 0.5  # score from which a class is named beside the best one
X264 = {"c:v": "libx264", "preset": "veryfast", "crf": 20, "pix_fmt": "yuv420p"}
LAST = 1e5  # s; the last line is shown until the video ends


def render(prediction: Prediction, out: Path) -> None:
    """Writes an MP4 with the size, rate and sound of the video, and the best class on it.

    Raises:
        BadVideo: ffmpeg cannot encode the video.
    """
    _draw(prediction.path, subtitles(prediction), out)


def render_boxes(prediction: BoxesPrediction, out: Path) -> None:
    """Writes an MP4 with the size, rate and sound of the video, and on it who does what.

    Raises:
        BadVideo: ffmpeg cannot encode the video.
    """
    found = source.probe(Path(os.path.realpath(prediction.path)))
    _draw(prediction.path, box_subtitles(prediction, found.height, found.width), out)


def _draw(path: Path, words: str, out: Path) -> None:
    video = Path(os.path.realpath(path))
    with tempfile.TemporaryDirectory() as scratch, atomic.replacing(out) as part:
        fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
        shutil.copyfile(fonts / FONT, Path(scratch) / FONT)
        (Path(scratch) / "words.ass").write_text(words, encoding="utf-8")
        guards = {"protocol_whitelist": source.PROTOCOLS, "format_whitelist": source.CONTAINERS}
        opened = ffmpeg.input(source.address(video), **guards)
        drawn = opened.video.filter("ass", "words.ass", fontsdir=".")
        even = drawn.filter("pad", "ceil(iw/2)*2", "ceil(ih/2)*2")
        output = even.output(
            opened["a?"], source.address(part), **X264, **{"c:a": "aac"}, movflags="+faststart",
            f="mp4", map_metadata=-1,
        ).global_args("-hide_banner", "-nostdin", "-v", "error")  # fmt: skip
        command = ffmpeg.compile(output, cmd=program(), overwrite_output=True)
        ended = subprocess.run(command, cwd=scratch, capture_output=True, check=False)
        if ended.returncode:
            lines = ended.stderr.decode(errors="replace").strip().splitlines() or [
                f"status {ended.returncode}"
            ]
            raise BadVideo("not_encoded", f"ffmpeg could not draw on it ({lines[-1]})")


def subtitles(prediction: Prediction) -> str:
    """The text of the subtitle file; a line is shown around the middle of its clip."""
    moments = prediction.moments
    middles = [(moment.begin + moment.end) / 2 for moment in moments]
    turns = [(a + b) / 2 for a, b in pairwise(middles)]
    lines = []
    for moment, begin, end in zip(moments, [0.0, *turns], [*turns, LAST], strict=True):
        ((name, score),) = best(moment.scores, prediction.classes, 1)
        words = f"{plain(name)}  {100 * score:.0f} %"
        lines.append(f"Dialogue: {stamp(begin)},{stamp(end)},top1,{words}\n")
    return HEADER + "".join(lines)


def box_subtitles(prediction: BoxesPrediction, height: int, width: int) -> str:
    """The text of the subtitle file with a line around each box, and its classes in it."""
    size = max(9, height // 24)
    lines = [BOXES.format(width=width, height=height, size=size, line=max(1, size // 10))]
    seconds = sorted({answer.second for answer in prediction.answers})
    turns = [(a + b) / 2 for a, b in pairwise(seconds)]
    spans = zip(seconds, [0.0, *turns], [*turns, LAST], strict=True)
    times = {at: (max(begin, at - SHOWN), min(end, at + SHOWN)) for at, begin, end in spans}
    for answer in prediction.answers:
        begin, end = map(stamp, times[answer.second])
        x1, y1, x2, y2 = (
            round(share * side)
            for share, side in zip(answer.corners, (width, height) * 2, strict=True)
        )
        first, *others = answer.top(prediction.classes)
        named = [first, *(other for other in others if other[1] >= LIKELY)]
        words = "\\N".join(f"{plain(name)}  {100 * score:.0f} %" for name, score in named)
        shape = f"m {x1} {y1} l {x2} {y1} {x2} {y2} {x1} {y2}"
        lines += [
            f"Dialogue: {begin},{end},box,{{\\pos(0,0)\\1a&HFF&\\p1}}{shape}{{\\p0}}\n",
            f"Dialogue: {begin},{end},words,{{\\pos({x1},{y1})}}{words}\n",
        ]
    return "".join(lines)


def plain(name: str) -> str:
    """The name without what the format reads as commands: braces, backslashes, line ends."""
    joined = " ".join(name.split())
    return joined.replace("\\", "\\\u2060").replace("{", "\\{")


def stamp(seconds: float) -> str:
    """Seconds as the time of a subtitle: 65.129 -> 0:01:05.13."""
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 100:02}.{rest % 100:02}"
