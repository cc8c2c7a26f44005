"""MLflow has what the stages logged: runs read back over REST, and what keeps no run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.mlflow_server import STAGE, Server, replay, until_spool_is_empty

from autox3d.runtime import tracking

pytestmark = pytest.mark.slow


def test_a_run_reads_back_over_rest(server: Server, tracked: Path) -> None:
    """Name, parameters, every metric, tags and the artifact, of a run that finished."""
    with tracking.run("train", "s", {"sampling.jitter": (64, 80)}, {"data": "8f3a"}) as run:
        for step in range(1500):  # more than one request may hold
            run.log(step, {"loss": 1 / (step + 1), "top 1, %": 50.0})
        run.artifact(Path("genotype.yaml"))
    until_spool_is_empty()

    (found,) = server.runs("test_a_run_reads_back_over_rest")
    tags = {tag["key"]: tag["value"] for tag in found["data"]["tags"]}
    artifacts = server.ask(f"artifacts/list?run_id={found['info']['run_id']}")["files"]
    assert found["info"]["run_name"] == "train@s"
    assert found["info"]["status"] == "FINISHED"
    assert found["data"]["params"] == [{"key": "sampling.jitter", "value": "(64, 80)"}]
    assert server.losses(found) == [(step, 1 / (step + 1)) for step in range(1500)]
    assert {metric["key"] for metric in found["data"]["metrics"]} == {"loss", "top 1_ _"}
    assert tags["data"] == "8f3a"
    assert tags["dvc.stage"] == "train@s"
    assert "mlflow.source.git.commit" in tags
    assert [file["path"] for file in artifacts] == ["genotype.yaml"]


def test_what_was_sent_may_be_sent_again(server: Server, tracked: Path) -> None:
    """A journal that is replayed whole after its run was complete changes nothing."""
    with tracking.run("search", "", {"lr": 0.3}, {}) as run:
        run.log(0, {"loss": 2.0})
        run.log(1, {"loss": float("nan")})
        assert run.journal
        copy = run.journal.with_name("copy.jsonl")
    until_spool_is_empty()
    (before,) = server.runs("test_what_was_sent_may_be_sent_again")
    header = {"key": _tag(before, tracking.KEY), "name": "search", "params": {"lr": "0.3"}}
    header |= {"experiment": "test_what_was_sent_may_be_sent_again", "time": 1, "tags": {}}
    query = f"run_id={before['info']['run_id']}&metric_key=loss"
    metrics = server.ask(f"metrics/get-history?{query}")["metrics"]
    again = [
        {
            "step": int(m["step"]),
            "time": int(m["timestamp"]),
            "metrics": {"loss": float(m["value"])},
        }
        for m in metrics
    ]
    end = {"end": "FINISHED", "time": 2}
    copy.write_text("".join(json.dumps(line) + "\n" for line in [header, *again, end]))
    assert replay() == 0

    (after,) = server.runs("test_what_was_sent_may_be_sent_again")
    assert after["info"]["run_id"] == before["info"]["run_id"]
    assert len(server.ask(f"metrics/get-history?{query}")["metrics"]) == len(metrics) == 2


def _tag(run: Any, key: str) -> str:
    return next(tag["value"] for tag in run["data"]["tags"] if tag["key"] == key)


def test_a_spool_that_cannot_be_written_stops_nothing(
    tracked: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file in its place: one line, and the stage goes on."""
    tracking.SPOOL.write_text("in the way")
    with tracking.run("train", "s", {}, {}) as run:
        run.log(0, {"loss": 1.0})

    assert capfd.readouterr().err == ".mlflow-spool: File exists. This run is not tracked.\n"


def test_a_disk_that_fills_up_stops_nothing(tracked: Path) -> None:
    """What there was room for is kept, cut at a line; one line says it."""
    limited = ["prlimit", "--fsize=4000", sys.executable, "-c", STAGE, "0", "1000", "1"]
    work = subprocess.run(limited, capture_output=True, text=True)

    assert work.returncode == 0, work.stderr
    (line,) = work.stderr.splitlines()
    assert line.endswith(": No space left on device. Tracking stopped.")


@pytest.mark.parametrize(("name", "value"), [("AUTOX3D_TRACKING", "off"), ("RANK", "1")])
def test_who_does_not_track_writes_nothing(
    tracked: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Tracking switched off, or a process that is not rank 0."""
    monkeypatch.setenv(name, value)
    with tracking.run("train", "s", {}, {}, resume=Path("key.txt")) as run:
        run.log(0, {"loss": 1.0})
        run.artifact(Path("genotype.yaml"))

    assert [path.name for path in tracked.iterdir()] == ["genotype.yaml"]
