r"""Starts a stage with torchrun: one process for each GPU, on all nodes of the job.

    python -m autox3d.runtime.launch train --genotype results/genotypes/s.yaml ...

With one GPU or none, the stage runs in this process. AUTOX3D_PROCESSES=2 starts two CPU processes
on each node instead. The command is the same everywhere.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import runpy
import signal
import sys
import tempfile
from typing import TYPE_CHECKING, NoReturn

from autox3d.core import environment
from autox3d.core.errors import Refused
from autox3d.runtime import slurm
from autox3d.runtime.program import RESUME, run

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

SAVE_TIME = 60  # s that the ranks have to save a checkpoint after a stop signal
STOPS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


def main() -> None:
    """Works out the processes and nodes of the job, and starts the stage on them."""
    module, flags = _stage()
    processes = _processes()
    node = slurm.here()
    if node is None and (count := slurm.nodes()) > 1:
        sys.exit(slurm.on_every_node([sys.executable, "-m", __spec__.name, *sys.argv[1:]], count))
    if node is None and processes == 1:
        sys.argv = [module, *flags]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        _torchrun(processes, node, ["-m", module, *flags])


def _stage() -> tuple[str, list[str]]:
    """The module of the stage named on the command line, and the flags for it."""
    name, *flags = sys.argv[1:] or [""]
    module = f"autox3d.stages.{name}"
    if not name.isidentifier() or importlib.util.find_spec(module) is None:
        raise Refused(f"launch: no stage '{name}'. Its name is that of a file in autox3d/stages.")
    return module, flags


def _processes() -> int:
    """The number of processes on this node; sets their threads so that they share its cores."""
    forced = environment.processes()
    import torch  # takes a second, which a mistake in the command need not wait for

    if forced:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    processes = forced or torch.cuda.device_count() or 1
    if "OMP_NUM_THREADS" not in os.environ:
        cores = min(torch.get_num_threads(), int(os.environ.get("SLURM_CPUS_ON_NODE", "65536")))
        threads = max(1, cores // processes - 1)  # one core of each process is for the loader
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    return processes


def _torchrun(processes: int, node: slurm.Node | None, command: list[str]) -> NoReturn:
    """Runs the ranks and exits: 0, RESUME after a stop signal, 1 with a line if a rank failed."""
    logging.disable(logging.ERROR)  # torchrun logs the same again: our last line is enough
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    def stop(number: int, _frame: object) -> NoReturn:
        for each in STOPS:  # torchrun waits for the ranks to save, which another must not break off
            signal.signal(each, signal.SIG_IGN)
        raise SignalException(f"got {signal.Signals(number).name}", signal.Signals(number))

    for each in STOPS:
        signal.signal(each, stop)
    scratch = tempfile.TemporaryDirectory(prefix="autox3d-")
    try:
        elastic_launch(_config(processes, node, scratch.name), sys.executable)(*command)
    except SignalException:
        sys.exit(RESUME)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode == RESUME:
            sys.exit(RESUME)
        raise Refused(f"launch: {_end(rank, failure.exitcode, failure.pid)}") from None
    except RendezvousError:
        name = os.environ.get("SLURMD_NODENAME", "this node")
        raise Refused(
            f"launch: {name} lost the other nodes. The reason is printed above."
        ) from None
    finally:
        scratch.cleanup()
    sys.exit(0)


def _config(processes: int, node: slurm.Node | None, logs: str) -> LaunchConfig:
    """What torchrun has to know; it leaves all signals to this program but SIGQUIT."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    alone = node is None
    return LaunchConfig(
        min_nodes=1 if alone else node.nodes,
        max_nodes=1 if alone else node.nodes,
        nproc_per_node=processes,
        run_id="alone" if alone else node.job,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0" if alone else node.meeting,
        rdzv_configs={"is_host": True if alone else node.host},
        local_addr="127.0.0.1" if alone else None,
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        max_restarts=0,  # a retry of the job resumes
        shutdown_timeout=SAVE_TIME,
        signals_to_handle="SIGQUIT",
    )


def _end(rank: int, status: int, pid: int) -> str:
    """How a rank ended, and what to do next."""
    if status >= 0:
        return f"rank {rank} (pid {pid}) ended with status {status}. The reason is printed above."
    name = signal.Signals(-status).name
    return f"rank {rank} (pid {pid}) was killed by {name}. Run again: it resumes."


if __name__ == "__main__":
    run(main)
