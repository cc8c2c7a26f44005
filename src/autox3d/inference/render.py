"""A video with what the network says of it burnt in, moment by moment.

The words are a subtitle file (Advanced SubStation Alpha), which ffmpeg draws: one line a moment,
however long the video is.
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
from autox3d.inference.network import Prediction, best
from autox3d.ingest import source
from autox3d.ingest.encode import program
from autox3d.ingest.source import BadVideo

FONT = "DejaVuSans.ttf"  # one that comes with matplotlib: the system may have none
HEAD = """[Script Info]
ScriptType: v4.00+
PlayResY: 360

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, OutlineColour, BorderStyle, Outline, Alignment, \
MarginL, MarginR, MarginV
Style: top1,DejaVu Sans,22,&H00FFFFFF,&H60000000,3,4,7,12,12,12

[Events]
Format: Start, End, Style, Text
"""
X264 = {"c:v": "libx264", "preset": "veryfast", "crf": 20, "pix_fmt": "yuv420p"}
LAST = 1e5  # s; the last words stay until the video ends


def render(prediction: Prediction, out: Path) -> None:
    """Writes an MP4 of the video's own size, rate and sound, each moment's best class on it.

    Raises:
        BadVideo: ffmpeg cannot encode it.
    """
    video = Path(os.path.realpath(prediction.path))
    with tempfile.TemporaryDirectory() as scratch, atomic.replacing(out) as part:
        fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
        shutil.copyfile(fonts / FONT, Path(scratch) / FONT)
        (Path(scratch) / "words.ass").write_text(subtitles(prediction), encoding="utf-8")
        guards = {"protocol_whitelist": source.PROTOCOLS, "format_whitelist": source.CONTAINERS}
        given = ffmpeg.input(source.address(video), **guards)
        drawn = given.video.filter("ass", "words.ass", fontsdir=".")
        even = drawn.filter("pad", "ceil(iw/2)*2", "ceil(ih/2)*2")
        output = even.output(
            given["a?"], source.address(part), **X264, **{"c:a": "aac"}, movflags="+faststart",
            f="mp4", map_metadata=-1,
        ).global_args("-hide_banner", "-nostdin", "-v", "error")  # fmt: skip
        command = ffmpeg.compile(output, cmd=program(), overwrite_output=True)
        ended = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if ended.returncode:
            told = ended.stderr.strip().splitlines() or [f"status {ended.returncode}"]
            raise BadVideo("not_encoded", f"ffmpeg could not draw on it ({told[-1]})")


def subtitles(prediction: Prediction) -> str:
    """The subtitle file: a moment's words are there around the middle of its clip."""
    moments = prediction.moments
    middles = [(moment.begin + moment.end) / 2 for moment in moments]
    turns = [(a + b) / 2 for a, b in pairwise(middles)]
    lines = []
    for moment, begin, end in zip(moments, [0.0, *turns], [*turns, LAST], strict=True):
        ((name, score),) = best(moment.scores, prediction.classes, 1)
        words = f"{plain(name)}  {100 * score:.0f} %"
        lines.append(f"Dialogue: {stamp(begin)},{stamp(end)},top1,{words}\n")
    return HEAD + "".join(lines)


def plain(name: str) -> str:
    """Without what the format reads as commands: braces, backslashes, line ends."""
    joined = " ".join(name.split())
    return joined.replace("\\", "\\\u2060").replace("{", "\\{")


def stamp(seconds: float) -> str:
    """65.129 -> 0:01:05.13"""
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 100:02}.{rest % 100:02}"
