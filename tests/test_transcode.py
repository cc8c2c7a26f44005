"""A shard's bytes depend on its list and settings alone, and a clip needs few of its packets."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from support import corpus, programs, shards

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.ingest import encode, source
from autox3d.vision.clips import views
from autox3d.vision.clips.format.decode import IndexedVideo

NAMES = ["a.mp4", "b.avi", "c.webm"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Three videos, each in another codec and container."""
    root = tmp_path_factory.mktemp("raw")
    codecs = (corpus.H264, ("-c:v", "mpeg4"), ("-c:v", "libvpx", "-deadline", "realtime"))
    for name, codec in zip(NAMES, codecs, strict=True):
        corpus.ffmpeg(*corpus.SOURCE, *codec, seconds=1, to=root / name)
    return root


AT_SCALE = {
    "demo's": shards.encoding(short=256),
    "Kinetics'": settings.load(shards.PARAMS.with_name("params") / "kinetics400.yaml").transcode,
}


@pytest.fixture(scope="module", params=[*AT_SCALE.values()], ids=[*AT_SCALE])
def ten_seconds(tmp_path_factory, request):
    """A video like Kinetics', encoded by the demo's settings at its size, and by its own."""
    folder = tmp_path_factory.mktemp("long")
    corpus.ffmpeg(*corpus.pictures("340x256", 25), *corpus.H264, seconds=10, to=folder / "long.mp4")
    return encode.encode(folder / "long.mp4", request.param, folder / "out.mp4")


def test_the_bytes_do_not_depend_on_processes_or_time(raw, tmp_path):
    one = shards.shard(raw, tmp_path / "one", 0, NAMES, workers=1)
    two = shards.shard(raw, tmp_path / "two", 0, NAMES, workers=2)
    assert one["status"].tolist() == ["ok"] * 3
    for file in ("shards/0.tar", "index/0.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert one.equals(two)


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_do_not_depend_on_the_processor(raw, tmp_path, name):
    """x264 is limited to AVX2; the decoders and the scaler are exact on every processor."""
    probe = source.probe(raw / name)
    program, *rest = encode.arguments(raw / name, tmp_path / "x.mp4", probe, shards.encoding())
    made = set()
    for flags in ((), ("-cpuflags", "-avx512-avx512icl"), ("-cpuflags", "sse2")):
        subprocess.run([program, *flags, *rest], check=True, capture_output=True)
        made.add((tmp_path / "x.mp4").read_bytes())
    assert len(made) == 1


def test_the_order_of_the_list_does_not_matter(raw, tmp_path):
    shards.shard(raw, tmp_path / "one", 0, NAMES)
    shards.shard(raw, tmp_path / "two", 0, NAMES[::-1])
    tars = [(tmp_path / name / "shards/0.tar").read_bytes() for name in ("one", "two")]
    assert tars[0] == tars[1]


def test_the_tar_is_in_webdatasets_naming(raw, tmp_path):
    """KEY.mp4 and KEY.json follow each other, sorted by key, with fixed owner, mode and time."""
    index = shards.shard(raw, tmp_path, 0, NAMES)
    with tarfile.open(tmp_path / "shards/0.tar") as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == [f"{k}.{e}" for k in "abc" for e in ("mp4", "json")]
        assert {(m.mtime, m.uid, m.mode) for m in members} == {(0, 0, 0o644)}
        assert [m.offset_data for m in members[::2]] == index["offset"].tolist()
        file = tar.extractfile("a.json")
        assert file is not None
        about = json.load(file)
    row = index.iloc[0]
    assert about == {n: row[n] for n in ("key", "frames", "rate", "height", "width", "sha256")}


def test_a_changed_file_is_refused(raw, tmp_path):
    """Its list is all that the pipeline knows about it; nothing is written."""
    root = tmp_path / "raw"
    root.mkdir()
    (root / "a.mp4").write_bytes((raw / "a.mp4").read_bytes())
    listing = shards.listing(root, tmp_path / "list.parquet", ["a.mp4"])
    os.utime(root / "a.mp4", ns=(0, 0))
    with pytest.raises(Refused) as caught:
        shards.transcode(
            listing,
            root,
            tmp_path / "0.tar",
            tmp_path / "0.parquet",
            shards.encoding(),
            workers=1,
            progress=lambda items, total: items,
        )
    assert str(caught.value) == (f"{root}/a.mp4: changed since it was listed. Run `make rescan`.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.parquet", "raw"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing_under_a_final_name(raw, tmp_path, stop):
    """The next run makes the shard, and removes what was left."""
    root = tmp_path / "raw"
    root.mkdir()
    names = [f"{n}.mp4" for n in range(24)]
    for name in names:
        (root / name).write_bytes((raw / "a.mp4").read_bytes())
    shards.listing(root, tmp_path / "list.parquet", names)
    (tmp_path / "params.yaml").write_bytes(shards.PARAMS.read_bytes())
    command = [sys.executable, "-m", "autox3d.stages.transcode", "--list", "list.parquet"]
    command += ["--shard", "out/0.tar", "--index", "out/0.parquet"]
    environment = os.environ | {"AUTOX3D_RAW": str(root)}
    started = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    partial = None
    while not partial and started.poll() is None:
        partial = next(tmp_path.glob("out/.0.tar.*/tar"), None)
        time.sleep(0.01)
    started.send_signal(stop)
    assert started.wait() == (128 + stop if stop == signal.SIGTERM else -stop)
    assert [p.name for p in tmp_path.glob("out/*") if not p.name.startswith(".")] == []
    assert bool(list(tmp_path.glob("out/.*"))) == (stop == signal.SIGKILL)
    (tmp_path / "out/.0.parquet.71.part").touch()  # left by a run killed a little later
    assert programs.run("data", command, tmp_path, environment).returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.parquet", "0.tar"]


def test_a_full_disk_is_not_the_videos_fault(raw, small_disk, tmp_path):
    """The stage stops with one line, and leaves no part of a shard."""
    disk = small_disk(20)
    shards.listing(raw, tmp_path / "list.parquet", NAMES)
    (tmp_path / "params.yaml").write_bytes(shards.PARAMS.read_bytes())
    command = [sys.executable, "-m", "autox3d.stages.transcode", "--list", "list.parquet"]
    command += ["--shard", "disk/0.tar", "--index", "disk/0.parquet"]
    environment = os.environ | {"AUTOX3D_RAW": str(raw)}
    ended = programs.run("data", command, tmp_path, environment)
    assert ended.returncode == 1
    assert "no space left on device. Free some space and run again." in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(disk.iterdir()) == []


def test_a_clip_needs_few_packets(ten_seconds):
    """13 frames, 6 apart, out of 300 need 32 packets on average, and never more than 40."""
    video = IndexedVideo(ten_seconds.data)
    assert video.count == 300
    used = [
        len(video.packets(views.clip_frames(float(start), 13, 6, 30, "linspace")))
        for start in range(0, 223)
    ]
    assert np.mean(used) <= 32
    assert max(used) <= 40


def test_the_encoding_follows_the_settings(ten_seconds, tmp_path):
    """Key frames every 48, five disposable frames between references, BT.601 tags, no sound."""
    (tmp_path / "clip.mp4").write_bytes(ten_seconds.data)
    assert ten_seconds.data.index(b"moov") < ten_seconds.data.index(b"mdat")  # fast start
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.profile) == ("h264", "yuv420p", "High")
        tags = (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range)
        assert tags == (6, 6, 6, 1)  # SMPTE 170M three times, limited range
        frames = list(container.decode(video=0))
    keys = [number for number, frame in enumerate(frames) if frame.key_frame]
    assert keys == list(range(0, 300, 48))
    kinds = "".join(PictureType(frame.pict_type).name for frame in frames[:48])
    assert kinds[:25] == "I" + "BBBBBP" * 4


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [
        (256, 340, 256, (256, 340)),
        (240, 320, 256, (240, 320)),  # nothing is enlarged
        (720, 1280, 256, (256, 456)),  # 455.1 px, even
        (1280, 720, 256, (456, 256)),
        (97, 73, 64, (86, 64)),  # 85.04 px
        (97, 73, 256, (96, 72)),
        (95, 127, 65, (64, 86)),
        (3, 500, 64, (2, 334)),
    ],
)
def test_sizes_are_even_and_keep_their_shape(height, width, short, expected):
    assert encode.size(height, width, short) == expected


def test_names_reach_ffmpeg_as_single_arguments(tmp_path):
    """Whatever a name contains, it is one argument, behind the only protocol allowed."""
    path = tmp_path / "-i http://x 'a' \"b\"\n$(c).mp4"
    probe = source.Probe(stream=0, height=96, width=128, seconds=1.0, rate=15.0)
    command = encode.arguments(path, tmp_path / "out.mp4", probe, shards.encoding())
    assert command.count(f"file:{path}") == 1
    assert command[command.index(f"file:{path}") - 1] == "-i"
    assert command[command.index("-protocol_whitelist") + 1] == "file"
    assert Path(command[0]).name.startswith("ffmpeg")
