"""`mlflow models serve` answers what `autox3d predict` prints, and refuses what is no video."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from support.corpus import KINDS
from support.installed import install
from support.mlflow_server import QUIET, free_port
from support.trained import trained

from autox3d.inference.network import load
from autox3d.runtime import served_model
from autox3d.runtime.served_model import pack
from autox3d.serving.served import Served
from autox3d.vision.models import weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a served network, and a folder with its weights, model and videos.

    It is served in an environment of its wheel, and of what that needs with the extra `serve`.
    """
    folder = tmp_path_factory.mktemp("served")
    weights.save(folder / "s", *trained(), {})
    pack(folder / "s", folder / "model")
    (wheel,) = (folder / "model/wheels").glob("autox3d-*.whl")
    programs = install(folder, ["serve"], wheel).root / "bin"
    port = free_port()
    place = ["--host", "127.0.0.1", "--port", str(port), "--model-uri", "model"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "mlflow", "models", "serve", "--env-manager", "local", *place],
            env=QUIET | {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", folder / "log")
        yield f"http://127.0.0.1:{port}", folder
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def wait_for(address: str, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def ask(address: str, contents: list[bytes], **params: int) -> tuple[int, str]:
    """Status and text of the answer."""
    rows = [[base64.b64encode(content).decode()] for content in contents]
    body = {"dataframe_split": {"columns": ["video"], "data": rows}, "params": params}
    request = urllib.request.Request(
        f"{address}/invocations",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_answers_what_predict_prints(served: tuple[str, Path]) -> None:
    """For two videos in one request, whose containers differ."""
    address, folder = served
    paths = [folder / name for name in ("plain.mp4", "mpeg4.avi")]
    for path in paths:
        KINDS[path.name][1](path)
    status, text = ask(address, [path.read_bytes() for path in paths], top=3, clips=2)

    assert status == 200, text
    answers, network = json.loads(text)["predictions"], load(folder / "s")
    for path, answer in zip(paths, answers, strict=True):
        expected = network.predict(path, clips=2).top(3)
        assert [(one["class"], one["score"]) for one in answer["top"]] == expected


def test_what_is_no_video_is_a_client_error(served: tuple[str, Path]) -> None:
    """The line of predict; the server lives on."""
    address, _ = served
    status, text = ask(address, [b"no video at all"])

    assert status == 400
    assert "video 0: " in text
    assert "Send another one, or leave it out." in text
    assert "Traceback" not in text
    assert ask(address, [b"no video"])[0] == 400


def test_a_path_is_no_video(served: tuple[str, Path]) -> None:
    """It is the content of a file, never the name of one that the server can read."""
    address, folder = served
    status, _ = ask(address, [str(folder / "plain.mp4").encode()])

    assert status == 400


def test_clips_are_bounded(served: tuple[str, Path]) -> None:
    """No request makes the server work for hours."""
    status, text = ask(served[0], [b"x"], clips=10**6)

    assert status == 400
    assert "'clips' from 1 to 100" in text


def test_a_video_has_at_most_64_mib(served: tuple[str, Path]) -> None:
    """One byte more is refused for its size, and nothing of it is written or decoded."""
    status, text = ask(served[0], [b"x", bytes(64 * 2**20 + 1)])
    assert status == 400
    assert "video 1: larger than 64 MiB. Cut it." in text

    largest = Served(load(served[1] / "s"))
    with pytest.raises(MlflowException, match=r"^video 0: (?!larger)"):  # no video, but not too big
        largest.predict(pd.DataFrame({"video": [bytes(64 * 2**20)]}))


def test_it_needs_no_more_than_the_core_and_serve(served: tuple[str, Path]) -> None:
    """The control: the environment that answers has nothing of the pipeline."""
    (packages,) = (served[1] / "venv/lib").glob("python*/site-packages")
    there = {path.name for path in packages.iterdir()}

    assert {"autox3d", "mlflow", "torch"} <= there
    assert not there & {"dvc", "snakemake", "onnx", "matplotlib_inline", "ffmpeg", "textalloc"}


def test_a_wheel_is_built_once_for_each_state_of_the_sources(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second model has the same wheel, and starts no builder; a changed line is another one."""
    monkeypatch.setattr(served_model.subprocess, "run", None)
    pack(served[1] / "s", tmp_path / "model")
    (first,), (second,) = ((place / "model/wheels").iterdir() for place in (served[1], tmp_path))
    assert first.read_bytes() == second.read_bytes()

    for name in served_model.SOURCES:
        (tmp_path / name).write_text("a = 1\n")
    before = served_model._state(tmp_path)
    (tmp_path / "src").unlink()
    (tmp_path / "src/__pycache__").mkdir(parents=True)
    (tmp_path / "code").mkdir()
    (tmp_path / "src/linked").symlink_to("../code")
    states = [before, served_model._state(tmp_path)]
    for path in ("code/a.py", "src/b.py"):
        (tmp_path / path).write_text("a = 1\n")
        states.append(served_model._state(tmp_path))
    assert len(set(states)) == 4
    (tmp_path / "src/__pycache__/b.pyc").write_bytes(b"compiled")
    assert served_model._state(tmp_path) == states[-1]


def test_the_model_brings_the_package(served: tuple[str, Path]) -> None:
    """As a wheel that its requirements name, and with no code beside it."""
    model = served[1] / "model"
    (wheel,) = (model / "wheels").glob("autox3d-*.whl")

    assert f"wheels/{wheel.name}[serve]" in (model / "requirements.txt").read_text().splitlines()
    assert "autox3d/serving/served.py" in zipfile.ZipFile(wheel).namelist()
    assert not (model / "code").exists()
