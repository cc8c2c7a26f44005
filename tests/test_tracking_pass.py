"""The run of a pass says how the pass is: with parallel jobs, failures, and stages that resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from autox3d.runtime.mirror import Mirror
from autox3d.runtime.tracking import KEY, SPOOL, Record

pytestmark = pytest.mark.slow
PASS = {"key": "0f" * 16, "name": "pipeline 0123456, abcdef"}


class Jobs:
    """Stages whose journals grow as told, and are sent after each word."""

    def __init__(self, client: MlflowClient) -> None:
        self.client, self.clock = client, 1000
        self.mirrors: dict[str, Mirror] = {}

    def begin(self, key: str, name: str) -> None:
        """A stage begins; `key` tells runs of one name apart."""
        mirror = Mirror(SPOOL / f"{key}-{self.clock}.jsonl")
        self.mirrors[key] = mirror
        header = {"key": key, "name": name, "experiment": "passes", "pass": PASS, "params": {}}
        self._say(key, header | {"tags": {KEY: key}})

    def end(self, key: str, status: str = "FINISHED") -> None:
        self._say(key, {"end": status})

    def vanish(self, key: str) -> None:
        """Its machine is gone, and another program finds the journal."""
        self.mirrors[key].send(self.client, orphan=True)

    def _say(self, key: str, record: Record) -> None:
        self.clock += 1000
        with self.mirrors[key].journal.open("a") as file:
            file.write(json.dumps(record | {"time": self.clock}) + "\n")
        self.mirrors[key].send(self.client)

    def whole(self) -> str:
        """The status of the run of the pass, which is one."""
        (run,) = self.client.search_runs(["1"], f"tags.{KEY} = '{PASS['key']}'")
        ended = run.info.end_time
        assert run.info.status == "RUNNING" or ended == self.clock
        return run.info.status


@pytest.fixture
def jobs(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    SPOOL.mkdir()
    return Jobs(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"))


def test_it_runs_until_the_last_of_parallel_jobs_has_ended(jobs: Jobs) -> None:
    """In whatever order they end."""
    jobs.begin("a", "train@s")
    jobs.begin("b", "train@m")
    jobs.end("a")
    assert jobs.whole() == "RUNNING"
    jobs.end("b")
    assert jobs.whole() == "FINISHED"


def test_it_runs_again_with_new_work(jobs: Jobs) -> None:
    """One stage after the other, as DVC runs them."""
    jobs.begin("a", "train@s")
    jobs.end("a")
    jobs.begin("b", "evaluate@s")
    assert jobs.whole() == "RUNNING"
    jobs.end("b")
    assert jobs.whole() == "FINISHED"


@pytest.mark.parametrize("bad", ["FAILED", "KILLED"])
def test_a_stage_that_ended_badly_marks_it_until_it_was_repeated(jobs: Jobs, bad: str) -> None:
    """Whoever ends last: a stage that resumes has the same run, one that begins anew another."""
    jobs.begin("a", "evaluate@s")
    jobs.begin("b", "train@m")
    jobs.end("a", bad)
    jobs.end("b")
    assert jobs.whole() == bad

    jobs.begin("c", "evaluate@s")
    jobs.end("c")
    assert jobs.whole() == "FINISHED"


def test_a_stage_whose_machine_is_gone_does_not_hold_it_open(jobs: Jobs) -> None:
    """As soon as somebody finds its journal."""
    jobs.begin("a", "train@s")
    jobs.begin("b", "train@m")
    jobs.end("b")
    assert jobs.whole() == "RUNNING"
    jobs.vanish("a")
    (run,) = jobs.client.search_runs(["1"], "attributes.run_name LIKE 'pipeline %'")
    assert run.info.status == "KILLED"
