"""The nodes of a SLURM job, as SLURM itself reports them.

Inside a Snakemake job the environment does not have them: Snakemake's executor strips most SLURM_*
variables and wraps the job in a step of one task on one node. Only the number of the job and the
name of the node are left.
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

STEP = ("SLURM_", "SRUN_", "SBATCH_")  # variables of the one-node step around this process


class Node(NamedTuple):
    """This machine in a job that spans several."""

    job: str  # an identifier of this start of the job, the same on all nodes
    nodes: int
    meeting: str  # host:port where the nodes' launchers meet
    host: bool  # whether this machine is the meeting point


def here() -> Node | None:
    """The node as `on_every_node` described it; None in a process that it did not start."""
    if MEETING not in os.environ:
        return None
    job, nodes, name, meeting = os.environ[MEETING].split("/")
    return Node(job, int(nodes), meeting, host=os.environ["SLURMD_NODENAME"] == name)


def nodes() -> int:
    """The number of nodes of the job that this process belongs to; 1 outside SLURM.

    Raises:
        Refused: SLURM does not answer.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or shutil.which("squeue") is None:
        return 1
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%D"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode or not answer.stdout.strip():
        reason = (answer.stderr.strip().splitlines() or ["no such job"])[-1]
        raise Refused(f"SLURM job {job}: squeue does not list its nodes ({reason}). Run again.")
    return int(answer.stdout.split()[0])


def left_behind() -> dict[str, list[str]]:
    """The jobs that Snakemake submitted from this folder and that have not ended yet.

    Returns:
        The numbers of the jobs by the comment that Snakemake's executor gives to them, such as
        `rule_train_wildcards_s`. Empty outside SLURM, and where SLURM does not answer, since no
        job can be submitted there either.
    """
    if shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--noheader", "--me", "--format", "%i|%k|%Z"]
    answer = subprocess.run(command, capture_output=True, text=True)
    jobs: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        job, comment, folder = line.split("|", 2)
        if folder == str(Path.cwd()):
            jobs.setdefault(comment, []).append(job)
    return jobs


def on_every_node(command: list[str], count: int) -> int:
    """Runs the command once on each of the `count` nodes of the job.

    SIGTERM and SIGINT are forwarded to the tasks, and the call returns when these have ended.

    Returns:
        The exit status of srun.
    """
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    job, name = os.environ["SLURM_JOB_ID"], os.environ["SLURMD_NODENAME"]
    layout = f"{job}-{port}/{count}/{name}/{socket.gethostname()}:{port}"
    flags = [f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--overlap"]
    flags += ["--cpu-bind=none", "--kill-on-bad-exit=1", "--export=ALL", "--unbuffered"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith(STEP)}
    environment = plain | {"SLURM_JOB_ID": job, MEETING: layout}
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a lost peer is no reason for 40 lines
    srun = subprocess.Popen(["srun", *flags, *command], env=environment, preexec_fn=die_with_parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: srun.send_signal(number))
    return srun.wait()
