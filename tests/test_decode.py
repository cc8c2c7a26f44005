"""The readers return the same frames as a decoder that is given every packet."""

import resource
import struct
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from support import corpus, shards

from autox3d.core import tables
from autox3d.inference.files import open_video
from autox3d.ingest import encode, source
from autox3d.vision.clips.format import mp4
from autox3d.vision.clips.format.decode import IndexedVideo
from autox3d.vision.clips.store import Clips

PICTURE = corpus.pictures("160x120", 30)
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-threads", "1")
FILES = {  # encodings of H.264 in which dropped packets or the order of frames could go wrong
    "default": (*X264,),
    "ultrafast": (*X264, "-preset", "ultrafast"),
    "pyramid": (*X264, "-x264-params", "keyint=25:bframes=8:b-pyramid=normal:b-adapt=2"),
    "open_gop": (*X264, "-x264-params", "keyint=20:open-gop=1:bframes=3"),
    "all_intra": (*X264, "-g", "1"),
    "interlaced": (*X264, "-flags", "+ilme+ildct"),
    "many_slices": (*X264, "-x264-params", "slices=4"),
    "high_444": ("-c:v", "libx264", "-pix_fmt", "yuv444p"),
    "bt709_full": (*X264, "-color_range", "pc", "-colorspace", "bt709"),
    "fragments_of_chunks": (*X264, "-movflags", "+faststart", "-write_tmcd", "0"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("h264")
    for name, arguments in FILES.items():
        corpus.ffmpeg(*PICTURE, *arguments, seconds=3, to=folder / f"{name}.mp4")
    clip = encode.encode(folder / "default.mp4", shards.encoding(), folder / "scratch.mp4")
    (folder / "ours.mp4").write_bytes(clip.data)
    return folder


def everything(path: Path) -> np.ndarray:
    """Decodes all frames by PyAV in its simplest way: (N, H, W, 3)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return np.stack([f.reformat(format="rgb24").to_ndarray() for f in container.decode(stream)])


@pytest.mark.parametrize("name", [*FILES, "ours"])
def test_chosen_frames_equal_a_full_decode_bit_for_bit(files, name):
    """This holds for forty random choices, in any order and with repeated frames."""
    data = (files / f"{name}.mp4").read_bytes()
    video, expected = IndexedVideo(data), everything(files / f"{name}.mp4")
    assert (video.count, video.height, video.width) == expected.shape[:3]
    rng = np.random.default_rng(0)
    for _ in range(40):
        chosen = rng.integers(0, video.count, rng.integers(1, 9))
        assert np.array_equal(video.frames(chosen), expected[chosen])
    assert np.array_equal(video.frames(range(video.count)), expected)


def test_only_what_is_needed_is_decoded(files):
    """The last frame of a group in our clips needs its key frame and the references after it."""
    video = IndexedVideo((files / "ours.mp4").read_bytes())
    assert len(video.packets([0])) == 1
    assert len(video.packets([48])) == 1
    assert len(video.packets([47])) <= 48 / 6 + 1
    assert len(video.packets(range(video.count))) == video.count
    full = IndexedVideo((files / "pyramid.mp4").read_bytes())
    assert len(full.packets([24])) < 25


def test_the_colours_of_one_video_do_not_affect_the_next(files):
    """Each call has a decoder of its own, so the colour tags of another file are not kept."""
    plain, tagged = (
        IndexedVideo((files / f"{n}.mp4").read_bytes()) for n in ("ours", "bt709_full")
    )
    before = plain.frames([3, 9])
    tagged.frames([3, 9])
    assert np.array_equal(plain.frames([3, 9]), before)


@pytest.mark.parametrize("indices", [[-1], [90], [3, 1000], []])
def test_frames_outside_the_video_are_an_error(files, indices):
    path = files / "default.mp4"
    for video in (IndexedVideo(path.read_bytes()), open_video(path)):
        with pytest.raises(ValueError, match="of a video of 90"):
            video.frames(indices)


def test_broken_tables_are_an_error_and_nothing_worse(files):
    """Of a file that is cut anywhere, or has any box overwritten, the parser raises ValueError."""
    data = (files / "ours.mp4").read_bytes()
    moov = data.index(b"mdat")
    for length in [0, 1, 7, 8, 9, *range(10, moov, 13), len(data) - 1]:
        with pytest.raises(ValueError):  # noqa: PT011  # of numpy's, or our own
            mp4.parse(data[:length])
    rng = np.random.default_rng(0)
    survived = 0
    for _ in range(500):
        harmed = bytearray(data)
        at = int(rng.integers(0, moov))
        harmed[at : at + 4] = rng.bytes(4)
        try:
            IndexedVideo(bytes(harmed)).frames([0, 50])
            survived += 1
        except ValueError:
            pass
    assert survived < 500


def test_an_impossible_number_of_samples_costs_no_memory(files):
    """It is 2**32 - 1 samples of one size, for which the table has no rows."""
    data = bytearray((files / "ours.mp4").read_bytes())
    table = data.index(b"stsz") + 8  # size of all, count
    data[table : table + 8] = struct.pack(">II", 1 << 20, 0xFFFFFFFF)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = 1024 * int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), limits[1]))
    try:
        with pytest.raises(ValueError, match="frames are missing"):
            mp4.parse(bytes(data))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("name", [*FILES, "ours"])
def test_seeking_and_skipping_change_no_bit(files, name):
    """Twenty random choices of frames equal those of a decoder that is given every packet."""
    video, expected = open_video(files / f"{name}.mp4"), everything(files / f"{name}.mp4")
    assert (video.count, video.height, video.width) == expected.shape[:3]
    rng = np.random.default_rng(0)
    for _ in range(20):
        chosen = rng.integers(0, video.count, rng.integers(1, 9))
        assert np.array_equal(video.frames(chosen), expected[chosen])


def test_a_late_frame_costs_no_more_than_an_early_one(files, monkeypatch):
    """Opening decodes up to the first frame; a late frame decodes its group of pictures alone."""
    path = files / "pyramid.mp4"  # a key frame every 25
    given = []
    plain = source.decoded
    monkeypatch.setattr(source, "decoded", lambda *a: given.append(a) or plain(*a))
    video = open_video(path)
    opened = len(given)
    assert opened < 25
    video.frames([88])
    assert 0 < len(given) - opened <= 25


@pytest.mark.parametrize("first", [20, 30, 40, 89])
def test_a_frame_that_does_not_decode_has_the_file_read_to_the_end(files, tmp_path, first):
    """The frame before it is shown in its place, whichever frame is requested first."""
    data = bytearray((files / "all_intra.mp4").read_bytes())
    tables = mp4.parse(bytes(data))
    lost = tables.order[[30, 89]]  # in the middle, and the last
    for offset, size in zip(tables.offset[lost], tables.size[lost], strict=True):
        data[offset + 4 : offset + size] = bytes(int(size) - 4)  # a NAL unit of no known type
    (tmp_path / "harmed.mp4").write_bytes(data)
    expected = everything(files / "all_intra.mp4")
    expected[[30, 89]] = expected[[29, 88]]
    video = open_video(tmp_path / "harmed.mp4")
    assert np.array_equal(video.frames([first]), expected[[first]])
    assert np.array_equal(video.frames([29, 30, 31, 88, 89]), expected[[29, 30, 31, 88, 89]])


CODECS = {
    "h264.mp4": corpus.H264,
    "mpeg4.avi": ("-c:v", "mpeg4", "-bf", "2"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
}
RATES = {"10": 10, "25": 25, "30": 30, "50": 50}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rate", RATES.values())
def test_any_file_shows_what_ffmpeg_shows_at_the_same_time(tmp_path, codec, rate):
    """No bit differs from ffmpeg's own decoder, constant rate and colour conversion."""
    path = tmp_path / codec
    corpus.ffmpeg(*corpus.pictures("96x64", rate), *CODECS[codec], seconds=1.3, to=path)
    expected = by_ffmpeg(path, "fps=30", 64, 96)
    video = open_video(path)
    assert np.array_equal(video.frames(range(video.count)), expected)
    some = np.array([5, 2, 2, video.count - 1])
    assert np.array_equal(video.frames(some), expected[some])


def test_variable_rates_are_followed(tmp_path):
    """Where frames are dropped unevenly at the source, each is shown until the next one."""
    path = tmp_path / "variable.mp4"
    keep = "select=not(mod(n\\,7))+lt(n\\,10)"
    corpus.ffmpeg(
        *corpus.pictures("96x64", 25), *corpus.H264, "-vf", keep, "-fps_mode", "vfr", to=path
    )
    video = open_video(path)
    assert np.array_equal(video.frames(range(video.count)), by_ffmpeg(path, "fps=30", 64, 96))


def by_ffmpeg(path: Path, filters: str, height: int, width: int) -> np.ndarray:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf", filters]
    command += ["-sws_flags", "bilinear", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    pixels = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


@pytest.fixture(scope="module")
def readers(files, tmp_path_factory):
    """Functions that open the same video: in a shard by its table, or in a file."""
    root = tmp_path_factory.mktemp("readers")
    (root / "0.mp4").write_bytes((files / "default.mp4").read_bytes())
    rows = shards.shard(root, root, 0, ["0.mp4"]).assign(label=0, split="train")
    tables.write_table(rows, root / "clips.parquet", classes=["one"])
    clips = Clips.load(root / "clips.parquet", split="train", shards=root / "shards")
    return {"shard": lambda: clips.video(0), "file": lambda: open_video(root / "0.mp4")}


@pytest.mark.parametrize(
    ("reader", "clips"),
    [
        ("shard", 2_000),
        ("file", 300),
        pytest.param("shard", 10_000, marks=pytest.mark.long),
    ],
)
def test_thousands_of_clips_cost_no_memory_and_no_files(readers, reader, clips):
    """Memory grows by at most 5 % after the first 200 clips, and no file stays open."""

    def decode(times: int) -> tuple[int, int]:
        for start in range(times):
            readers[reader]().frames(start % 60 + np.arange(4) * 6)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages, len([*Path("/proc/self/fd").iterdir()])

    before, after = decode(200), decode(clips)
    assert after[1] == before[1]
    assert after[0] <= 1.05 * before[0]
