"""One command starts one process or many, and reports their end with a line and a status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.mlflow_server import free_port
from support.toy import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# A stage of the tests' own. `what` stands in the environment, where a stage has its command line.
PROBE = """
import json, os, signal, sys, time
import torch
from autox3d.core.errors import Refused
from autox3d.runtime.distributed import join
from autox3d.runtime.program import RESUME, run


def main():
    what = os.environ["WHAT"]
    if what == "refuse":
        raise Refused("clips.parquet: empty. Add videos.")
    with join() as world:
        if what == "talk":
            talk(world)
        elif what == "disagree":
            world.agree("alpha", torch.tensor([0.1 * world.rank]))
        elif what == "die" and world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "wait":
            wait(world)
        elif what == "work":
            work(world)
        world.barrier()


def talk(world):
    wide = torch.full((1, 2, 3, 4, 5), world.rank + 1.0)
    layout = wide.to(memory_format=torch.channels_last_3d)
    tensors = [layout, torch.ones(2, dtype=torch.float64), torch.tensor(world.rank), torch.ones(1)]
    world.sum_(tensors)
    world.agree("sums", tensors[0])
    report = {
        "sums": [tensor.unique().tolist() for tensor in tensors],
        "kept": layout.is_contiguous(memory_format=torch.channels_last_3d),
        "gathered": world.gather(f"rank {world.rank}"),
        "any": [world.any(world.rank == 1), world.any(False)],
        "size": world.size,
        "threads": torch.get_num_threads(),
        "pid": os.getpid(),
        "argv": sys.argv[1:],
    }
    if world.rank == 0:
        print(json.dumps(report))


def work(world):
    os.write(1, f"pid {os.getpid()} {world.rank}\\n".encode())
    while True:  # as the steps of a training
        world.sum_([torch.ones(10**5)])


def wait(world):
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    os.write(1, f"pid {os.getpid()}\\n".encode())  # whole: the ranks share one pipe
    while not world.any(bool(stop)):
        time.sleep(0.02)
    time.sleep(0.5)
    os.write(1, b"saved\\n")
    world.barrier()
    sys.exit(RESUME)


run(main)
"""

Launch = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts the probe program as a stage of the project."""
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "sitecustomize.py").write_text(
        f"import autox3d.stages\nautox3d.stages.__path__.append({str(tmp_path)!r})\n"
    )
    started: list[subprocess.Popen[str]] = []

    def start(what: str, processes: str | None, *words: str, **more: str) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if "AUTOX3D" not in key}
        environment |= {"PYTHONPATH": str(tmp_path), "WHAT": what, **more}
        environment.pop("OMP_NUM_THREADS", None)
        if processes is not None:
            environment["AUTOX3D_PROCESSES"] = processes
        process = subprocess.Popen(
            [sys.executable, "-m", "autox3d.runtime.launch", *(words or ("probe", "--out", "x"))],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def test_alone_the_stage_runs_in_this_process(launch: Launch) -> None:
    """There is no launcher to wait for and no second process; sums change nothing."""
    process = launch("talk", "1")
    output, errors = process.communicate()

    assert process.returncode == 0, errors
    report = json.loads(output)
    assert report["pid"] == process.pid
    assert report["argv"] == ["--out", "x"]
    assert report["sums"] == [[1.0], [1.0], [0], [1.0]]
    assert report["gathered"] == ["rank 0"]
    assert report["any"] == [False, False]


def test_two_processes_sum_gather_and_share_the_cores(launch: Launch) -> None:
    """Each dtype has its own message, and memory formats are kept."""
    process = launch("talk", "2")
    output, errors = process.communicate()

    assert process.returncode == 0, errors
    report = json.loads(output)
    assert report["size"] == 2
    assert report["argv"] == ["--out", "x"]
    assert report["sums"] == [[3.0], [2.0], [1], [2.0]]
    assert report["kept"]
    assert report["gathered"] == ["rank 0", "rank 1"]
    assert report["any"] == [True, False]
    assert report["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)
    assert errors == ""


def test_ranks_that_compute_different_values_stop(launch: Launch) -> None:
    """The message names the value and the rank."""
    process = launch("disagree", "2")
    output, errors = process.communicate()

    assert process.returncode == 1
    assert output == ""
    first, last = errors.splitlines()
    assert re.fullmatch(
        r"rank 0 of 2 \(\S+, pid \d+\): alpha of rank 1 differs from rank 0's. Report this error.",
        first,
    )
    assert re.fullmatch(
        r"launch: rank 0 .* ended with status 1. The reason is printed above.", last
    )


def test_a_user_error_is_printed_once(launch: Launch) -> None:
    """It is not printed by each rank."""
    process = launch("refuse", "2")
    _, errors = process.communicate()

    assert process.returncode == 1
    assert errors.splitlines()[0] == "clips.parquet: empty. Add videos."
    assert errors.count("clips.parquet") == 1


def test_a_rank_that_dies_takes_the_job_down(launch: Launch) -> None:
    """The last line names the rank."""
    process = launch("die", "2")
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert re.fullmatch(
        r"launch: rank 1 \(pid \d+\) was killed by SIGKILL. Run again: it resumes.",
        errors.splitlines()[-1],
    )
    assert "Traceback" not in errors


LOST = 20  # s after which docs/OPERATIONS.md says that a job of CPUs has ended
LINE = r"rank \d of 3 \(\S+, pid \d+\): lost the others in 'sum' \(.+\)\. Run again\."


def test_a_rank_that_is_killed_at_work_ends_the_job_in_time(launch: Launch) -> None:
    """By `kill -9` between two sums: the others are gone, and nobody says more than a line."""
    process = launch("work", "3")
    assert process.stdout is not None
    pids = {rank: int(pid) for _, pid, rank in (process.stdout.readline().split() for _ in "012")}
    os.kill(pids["1"], signal.SIGKILL)
    began = time.monotonic()
    _, errors = process.communicate(timeout=100)

    assert time.monotonic() - began < LOST
    assert process.returncode == 1
    assert not [pid for pid in pids.values() if Path(f"/proc/{pid}").exists()]
    *others, last = errors.splitlines()
    line = rf"launch: rank 1 \(pid {pids['1']}\) was killed by SIGKILL\. Run again: it resumes\."
    assert re.fullmatch(line, last)
    assert len(others) <= 2
    assert all(re.fullmatch(rf"(rank \d: )?{LINE}", one) for one in others)


@pytest.mark.parametrize(
    ("number", "timeout"),
    [(signal.SIGKILL, 600), pytest.param(signal.SIGSTOP, 20, marks=pytest.mark.long)],
)
@pytest.mark.usefixtures("launch")
def test_ranks_that_nobody_watches_end_by_themselves(
    number: signal.Signals, timeout: int, tmp_path: Path
) -> None:
    """Each with one line and status 1: killed, one is missed at once; stopped, in time."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "3"}
    common = os.environ | meeting | {"WHAT": "work", "AUTOX3D_TIMEOUT": str(timeout)}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "probe.py")],
            env=common | {"RANK": str(rank)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(3)
    ]
    try:
        for rank in ranks:
            assert rank.stdout is not None
            assert rank.stdout.readline().startswith("pid ")
        ranks[1].send_signal(number)
        began = time.monotonic()
        errors = [ranks[place].communicate(timeout=100)[1] for place in (0, 2)]

        assert time.monotonic() - began < LOST + (timeout if number == signal.SIGSTOP else 0)
        assert [ranks[0].returncode, ranks[2].returncode] == [1, 1]
        assert re.fullmatch(LINE + "\n", errors[0])
        assert re.fullmatch(f"rank 2: {LINE}\n", errors[1])
    finally:
        for rank in ranks:
            rank.kill()


def test_a_node_that_dies_takes_the_others_down(launch: Launch) -> None:
    """Two launchers meet as on two nodes; the one that is left ends with one line."""
    meeting = f"7-1/2/n1/127.0.0.1:{free_port()}"
    nodes = [
        launch("wait", "1", AUTOX3D_MEETING=meeting, SLURMD_NODENAME=name) for name in ("n1", "n2")
    ]
    for node in nodes:
        assert node.stdout is not None
        assert node.stdout.readline().startswith("pid ")
    nodes[0].kill()
    _, errors = nodes[1].communicate(timeout=60)

    assert nodes[1].returncode == 1
    assert re.fullmatch(
        r"launch: (n2 lost the other nodes|rank 1 \(pid \d+\) ended with status 1)\. .*",
        errors.splitlines()[-1],
    )
    assert "Traceback" not in errors


@pytest.mark.parametrize("target", ["launcher", "rank"])
def test_sigterm_lets_the_ranks_save(launch: Launch, target: str) -> None:
    """Status 75 means "run again"; a second SIGTERM while saving is harmless."""
    process = launch("wait", "2")
    assert process.stdout is not None
    ranks = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    os.kill(process.pid if target == "launcher" else ranks[1], signal.SIGTERM)
    if target == "rank":
        os.kill(ranks[1], signal.SIGTERM)
    output, errors = process.communicate(timeout=60)

    assert process.returncode == 75, errors
    assert output == "saved\nsaved\n"
    assert errors == ""


def test_a_killed_launcher_leaves_no_ranks(launch: Launch) -> None:
    """Therefore a killed job leaves none, either."""
    process = launch("wait", "2")
    assert process.stdout is not None
    ranks = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    process.kill()

    for rank in ranks:
        wait_for(lambda path=Path(f"/proc/{rank}"): not path.exists(), 10)


@pytest.mark.parametrize(
    ("processes", "words", "line"),
    [
        ("two", ("probe",), "AUTOX3D_PROCESSES: must be a number from 1 on, not 'two'."),
        ("1", ("tain",), "launch: no stage 'tain'. Its name is that of a file in autox3d/stages."),
    ],
)
def test_mistakes_are_one_line(
    launch: Launch, processes: str, words: tuple[str, ...], line: str
) -> None:
    """They stop the launcher before anything starts."""
    process = launch("talk", processes, *words)
    _, errors = process.communicate()

    assert process.returncode == 1
    assert errors == f"{line}\n"
