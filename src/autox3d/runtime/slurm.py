"""The nodes of a SLURM job, asked of SLURM itself.

Inside a Snakemake job the environment is no guide: its executor strips most of SLURM_*, and wraps
the job in a step of one task on one node. Only the job's number and the node's name are left.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

from autox3d.core.environment import MEETING
from autox3d.core.errors import Refused
from autox3d.runtime.program import die_with_parent

STEP = ("SLURM_", "SRUN_", "SBATCH_")  # of the step of one node that we are in


class Node(NamedTuple):
    """This machine among those of a job that spans several."""

    job: str  # one word for this start of the job, the same on all nodes
    nodes: int
    meeting: str  # host:port where the nodes' launchers meet
    host: bool  # whether the meeting is here


def here() -> Node | None:
    """What `on_every_node` told this process; None where it did not start it."""
    if MEETING not in os.environ:
        return None
    job, nodes, name, meeting = os.environ[MEETING].split("/")
    return Node(job, int(nodes), meeting, host=os.environ["SLURMD_NODENAME"] == name)


def nodes() -> int:
    """Nodes of the job that this process is part of; 1 outside SLURM.

    Raises:
        Refused: SLURM does not answer.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or shutil.which("squeue") is None:
        return 1
    asked = ["squeue", "--noheader", "--jobs", job, "--format", "%D"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    if answer.returncode or not answer.stdout.strip():
        reason = (answer.stderr.strip().splitlines() or ["no such job"])[-1]
        raise Refused(f"SLURM job {job}: squeue does not tell its nodes ({reason}). Run again.")
    return int(answer.stdout.split()[0])


def left_behind() -> dict[str, list[str]]:
    """Jobs that a Snakemake submitted from this folder and that have not ended: their numbers.

    By what Snakemake's executor puts into the comment, `rule_train_wildcards_s`. Empty outside
    SLURM, and where it does not answer: nothing can be submitted there, either.
    """
    if shutil.which("squeue") is None:
        return {}
    asked = ["squeue", "--noheader", "--me", "--format", "%i|%k|%Z"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    found: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        job, comment, folder = line.split("|", 2)
        if folder == str(Path.cwd()):
            found.setdefault(comment, []).append(job)
    return found


def on_every_node(command: list[str], count: int) -> int:
    """Runs the command once on each of the job's `count` nodes; the exit status of srun.

    SIGTERM and SIGINT go on to the tasks, and their end is awaited.
    """
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    job, name = os.environ["SLURM_JOB_ID"], os.environ["SLURMD_NODENAME"]
    told = f"{job}-{port}/{count}/{name}/{socket.gethostname()}:{port}"
    flags = [f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--overlap"]
    flags += ["--cpu-bind=none", "--kill-on-bad-exit=1", "--export=ALL", "--unbuffered"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith(STEP)}
    environment = plain | {"SLURM_JOB_ID": job, MEETING: told}
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a lost peer is no reason for 40 lines
    srun = subprocess.Popen(["srun", *flags, *command], env=environment, preexec_fn=die_with_parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: srun.send_signal(number))
    return srun.wait()
