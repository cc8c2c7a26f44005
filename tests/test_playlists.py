"""Only the video file itself is opened, whatever other files or hosts it names."""

import base64
import contextlib
import socket
import subprocess
import threading

import av
import pytest
from support import corpus, shards

from autox3d.ingest import encode, source


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    for name in ("plain.mp4", "concat.mp4", "hls.mp4", "hls.m3u8", "referring.mov", "folder.mp4"):
        corpus.KINDS[name][1](root / name)
    return root


def test_a_playlist_opens_nothing(videos):
    """The files that it names could be decoded, if they were opened."""
    for name in ("concat.mp4", "hls.mp4", "hls.m3u8"):
        with pytest.raises(source.BadVideo, match=r"^(no video container|a text file, no video)"):
            source.probe(videos / name)


DISGUISES = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile {}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {} RTP/AVP 96\n",
}


@pytest.mark.parametrize("kind", DISGUISES)
@pytest.mark.parametrize("target", ["file", "host"])
def test_neither_pyav_nor_ffmpeg_follows_a_playlist(videos, tmp_path, kind, target):
    """ffmpeg is run with the arguments that it would get if the probe had accepted the file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        host = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        path = tmp_path / "playlist.mp4"
        path.write_text(DISGUISES[kind].format(videos / "plain.mp4" if target == "file" else host))
        with pytest.raises(source.BadVideo):
            source.probe(path)
        probe = source.Probe(stream=0, height=96, width=128, seconds=2.0, rate=15.0)
        command = encode.arguments(path, tmp_path / "out.mp4", probe, shards.encoding())
        assert subprocess.run(command, capture_output=True, timeout=30).returncode != 0
        assert [file.name for file in tmp_path.iterdir()] == ["playlist.mp4"]
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody has connected


ADDRESSES = {  # entries of a playlist, by the protocols that are needed to follow them
    "data": "data:video/mp2t;base64,{content}",
    "subfile": "subfile,,start,0,end,0,,:{file}",
    "concat": "concat:{file}",
    "http,tcp": "http://127.0.0.1:{port}/x.ts",
}


@pytest.mark.parametrize("protocols", ADDRESSES)
def test_the_list_of_protocols_holds_alone(tmp_path, monkeypatch, protocols):
    """Even with playlists allowed and declared safe, the protocols alone keep them from opening."""
    corpus.ffmpeg(*corpus.SOURCE, *corpus.H264, seconds=0.3, to=tmp_path / "plain.ts")
    with socket.create_server(("127.0.0.1", 0)) as server:
        content = base64.b64encode((tmp_path / "plain.ts").read_bytes()).decode()
        port = server.getsockname()[1]
        entry = ADDRESSES[protocols].format(content=content, file=tmp_path / "plain.ts", port=port)
        (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{entry}'\n")
        monkeypatch.setattr(source, "CONTAINERS", f"{source.CONTAINERS},concat")
        plain = av.open
        monkeypatch.setattr(
            av, "open", lambda path, options, **more: plain(path, options=options | SAFE, **more)
        )
        assert readers_that_follow(tmp_path / "list.mp4", server) == set()
        monkeypatch.setattr(source, "PROTOCOLS", f"file,{protocols}")
        assert readers_that_follow(tmp_path / "list.mp4", server) == {"PyAV", "ffmpeg"}


SAFE = {"safe": "0"}


def readers_that_follow(path, server):
    """The readers that decode what the playlist names, or connect to the server."""
    calls = []

    def answer():
        with contextlib.suppress(OSError):
            calls.append(server.accept()[0].close())

    def by_pyav():
        source.probe(path)

    def by_ffmpeg():
        probe = source.Probe(stream=0, height=96, width=128, seconds=0.3, rate=15.0)
        command = encode.arguments(path, path.with_name("out.mp4"), probe, shards.encoding())
        command[command.index("-i") : command.index("-i")] = ["-safe", "0"]
        subprocess.run(command, capture_output=True, timeout=30, check=True)

    followed = set()
    server.settimeout(2)
    for name, read in {"PyAV": by_pyav, "ffmpeg": by_ffmpeg}.items():
        calls.clear()
        listening = threading.Thread(target=answer)
        listening.start()
        with contextlib.suppress(source.BadVideo, subprocess.CalledProcessError):
            read()
            followed.add(name)
        listening.join()
        followed |= {name} if calls else set()
    return followed


def test_a_movie_whose_frames_lie_elsewhere_opens_nothing_else(videos):
    """libavformat can follow such a reference, and would find the frames if it were allowed to."""
    path = videos / "referring.mov"
    with pytest.raises(source.BadVideo, match="not one frame decodes"):
        source.probe(path)
    with av.open(str(path), options={"enable_drefs": "1"}) as container:
        assert len([*container.demux(video=0)]) > 1
    with av.open(str(path)) as container:
        assert len([*container.demux(video=0)]) == 1  # the end


def test_paths_with_a_protocol_are_names_of_files(videos, tmp_path):
    """No such file lies under the root, however libav would read the path."""
    for path in ("http://127.0.0.1:9/x.mp4", "subfile,,start,0,end,0,,:plain.mp4", "data:,x"):
        with pytest.raises(source.BadVideo) as caught:
            source.locate(videos, path)
        assert caught.value.reason == "missing"
    index = shards.any_files(
        videos, ["http://127.0.0.1:9/x.mp4", "concat:plain.mp4", "plain.mp4"], tmp_path
    )
    assert index["status"].value_counts().to_dict() == {"missing": 2, "ok": 1}
    with pytest.raises(source.BadVideo) as caught:
        source.locate(videos / "folder.mp4", "../plain.mp4")
    assert caught.value.reason == "outside"
