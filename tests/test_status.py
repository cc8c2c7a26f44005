"""`autox3d status` says what is going on, from files alone; looking never ends a run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
import zc.lockfile
from support import ROOT
from support.clone import DVC, Clone
from support.toy import BIN, ENVIRONMENT, SNAKEMAKE, Toy

from autox3d.commands import status
from autox3d.pipeline.status import Row, rows

pytestmark = pytest.mark.timeout(180)

LOOK = (str(BIN / "autox3d"), "status")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone", tracking="off")


def files(root: Path) -> dict[str, int]:
    """Every file and when it was written, in ns, but for git's own."""
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(p): p.stat().st_mtime_ns for p in found if ".git" not in p.relative_to(root).parts}


@pytest.mark.slow
def test_a_training_under_dvc_is_seen_stopped_killed_refused_and_done(clone: Clone) -> None:
    """Each time by another process, which writes nothing."""
    hold = clone.root / "hold"
    assert clone.type(*LOOK).splitlines() == [
        "to run   train  has not run",
        "waiting  test   for train",
        "0 of 2 done",
    ]
    hold.touch()
    work = clone.start(*DVC, "repro")
    pid, before = clone.owner(), files(clone.root)
    engine, train, test, done = clone.type(*LOOK).splitlines()
    assert files(clone.root) == before
    assert engine == f"dvc is at work: process {work.pid}: __main__.py repro"
    place = rf"process {pid} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d"
    assert re.fullmatch(rf"running  train  train s: \d/6 steps(, \d\d:\d\d left)?; {place}", train)
    assert (test, done) == ("waiting  test   for train", "0 of 2 done")

    os.killpg(work.pid, signal.SIGINT)  # Ctrl-C
    said, _ = work.communicate(timeout=60)
    assert "train: saved and stopped: run again to resume.\n" in said
    assert "stopped  train  step 3 is kept; run again" in clone.type(*LOOK)
    again = clone.start(*DVC, "repro")
    again_pid = clone.owner()
    os.kill(again_pid, signal.SIGKILL)
    again.communicate(timeout=60)
    told = f"failed   train  process {again_pid} was killed; step 4 is kept; run again"
    assert told in clone.type(*LOOK)

    hold.unlink()
    clone.type(*DVC, "repro")
    assert clone.type(*LOOK) == "2 of 2 done: train, test\n"
    clone.write("params.yaml", "train:\n  s: {lr: 9.5, steps: 6}\n")
    assert clone.type(*LOOK).splitlines()[0] == "to run   train  params.yaml: train.s changed"
    clone.type(*DVC, "repro", status=255)
    line = "failed   train  params.yaml: 'train.s.lr' is too high. Lower it."
    assert clone.type(*LOOK).splitlines()[0] == line
    rows = json.loads(clone.type(*LOOK, "--json"))["stages"]
    assert [row["state"] for row in rows] == ["failed", "waiting"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A pipeline of five stages, of which nothing has run."""
    toy = Toy.new(tmp_path_factory.mktemp("status") / "toy")
    toy.dvc("status")  # makes .dvc/tmp
    return toy


@pytest.mark.slow
def test_looking_needs_no_lock(toy: Toy) -> None:
    """While a process holds DVC's lock, `dvc status` gives up; the other two answer."""
    held = zc.lockfile.LockFile(str(toy.root / ".dvc/tmp/lock"))
    try:
        assert "waiting  shard@0,1  for list\n" in toy.type(*LOOK)
        assert "shard" in toy.snakemake("--dry-run", status=0)
        assert "Unable to acquire lock" in toy.type(*DVC, "status", status=255)
    finally:
        held.close()


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "status"), [((), 255), (("--wait-for-lock",), 0)])
def test_who_holds_dvcs_lock_ends_a_repro_that_does_not_wait(
    toy: Toy, tmp_path: Path, flags: tuple[str, ...], status: int
) -> None:
    """docs/OPERATIONS.md names the flag: the lock is taken here as a long `dvc status` does."""
    with toy.copied(tmp_path / "toy") as toy:
        hold = toy.hold("list")
        work = toy.start(*DVC, *flags, "repro", "list")
        toy.pid("list")
        lock = zc.lockfile.LockFile(str(toy.root / ".dvc/tmp/lock"))
        hold.unlink()
        time.sleep(5)
        lock.close()
        said, _ = work.communicate(timeout=60)

    assert work.returncode == status, said
    assert ("Unable to acquire lock" in said) == (status != 0)


@pytest.mark.slow
def test_snakemake_at_work_is_seen(toy: Toy, tmp_path: Path) -> None:
    """Its process, and the stage by the sign of its program, which the toy's has none of."""
    with toy.copied(tmp_path / "toy") as toy:
        hold = toy.hold("list")
        work = toy.start(*SNAKEMAKE)
        toy.pid("list")
        assert toy.type(*LOOK).startswith(f"snakemake is at work: process {work.pid} on ")
        hold.unlink()
        work.communicate(timeout=120)
        assert toy.type(*LOOK) == "5 of 5 done: list, shard@0,1, train, test\n"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs to drop rights")
def test_another_user_may_look_at_a_clone(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not write there reads the status; Snakemake, which has to write, says so."""
    with tempfile.TemporaryDirectory(prefix="autox3d-") as folder:  # pytest's are for root alone
        Path(folder).chmod(0o755)
        toy = toy.copy(Path(folder) / "toy")
        shutil.rmtree(toy.root / ".pipeline", ignore_errors=True)
        home = Path(folder) / "home"
        home.mkdir()
        os.chown(home, 65534, -1)
        monkeypatch.setitem(ENVIRONMENT, "HOME", str(home))
        other = ("setpriv", "--reuid", "65534", "--clear-groups", sys.executable)

        said = toy.type(*other, *LOOK)
        assert said.splitlines()[-1] == "0 of 5 done"
        said = toy.type(*other, "-m", "snakemake", *SNAKEMAKE[1:], "--dry-run", status=1)
        line = ".pipeline: permission denied. Snakemake writes, even in a dry run. To look, "
        assert line + "`autox3d status` is enough." in said.splitlines()
        assert "Traceback" not in said


def test_a_new_clone_has_done_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dvc.lock records the demo, but its videos, clips and weights are not here."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "new")], check=True)
    monkeypatch.chdir(tmp_path / "new")
    first, *others = rows()

    assert first == Row("annotate", "to run", "data/lists is not here")
    assert {row.state for row in others} == {"to run", "waiting"}


def test_a_stage_of_earlier_settings_says_nothing_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC keeps its entry in dvc.lock, and another stage may make the file now."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run([*DVC, "init", "--quiet"], check=True)
    use = {"cmd": "cp s.txt used.txt", "deps": ["s.txt"], "outs": ["used.txt"]}
    for number, name in enumerate(("scale", "select")):
        make = {"foreach": ["s"], "do": {"cmd": f"echo {number} > s.txt", "outs": ["s.txt"]}}
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {name: make, "use": use}}))
        subprocess.run([*DVC, "repro", "--quiet"], check=True)

    lock = yaml.safe_load(Path("dvc.lock").read_text())
    assert set(lock["stages"]) == {"scale@s", "select@s", "use"}
    lock["stages"]["scale@s"] = lock["stages"].pop("scale@s")  # in any order
    Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    assert [(row.stage, row.state) for row in rows()] == [("select@s", "done"), ("use", "done")]


def test_what_is_alike_shares_a_line():
    """Items of an entry, up to four by name; what is done stands in one line at the end."""
    shards = [Row(f"transcode@{n}", "waiting", "for annotate") for n in range(5)]
    trains = [Row("train@s", "done"), Row("train@m", "running", "process 7")]
    later = [Row("test@s", "waiting", "for x"), Row("test@m", "waiting", "for x")]
    copies = [Row("train@s", "stopped", "run again", "low")]

    assert status.lines([Row("annotate", "done"), *shards, *trains, *later, *copies]) == [
        "waiting  transcode (5)  for annotate",
        "running  train@m        process 7",
        "waiting  test@s,m       for x",
        "stopped  train@s (low)  run again",
        "2 of 10 done: annotate, train@s",
    ]
