"""Programs in forks of a process that has imported their libraries: without seconds of imports.

What this project has written is imported anew by each program; it has a session, a working
directory, an environment and files of its own, as if it had been started by a shell.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

DATA = ("pandas", "pyarrow.parquet", "av", "pydantic.dataclasses", "yaml")
FIGURES = ("matplotlib.figure", "matplotlib.backends.backend_svg", "jinja2")
LIBRARIES = {
    "data": DATA,
    "report": (*DATA, *FIGURES),
    "networks": (*DATA, "torch", "safetensors.torch"),
    "tracking": ("mlflow", "mlflow.store.artifact.mlflow_artifacts_repo"),
    "engines": (
        *("dvc.cli", "dvc.repo", "dvc.repo.metrics.show", "dvc.repo.plots", "dvc.dependency"),
        *("snakemake.cli", "snakemake.workflow", "snakemake.dag"),
    ),
}
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true"}  # it would start a thread when it is imported


def run(
    libraries: str,
    command: Sequence[str | Path],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 200.0,
    together: bool = False,
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run() with its output captured as text.

    Args:
        libraries: which process to fork.
        command: [sys.executable, "-m", module, ...], or the path of a Python script and its words.
        together: errors are part of the output, in order.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        errors = out if together else errors
        job = {"command": words, "cwd": str(cwd), "env": dict(os.environ if env is None else env)}
        status = _server(libraries).run(job, out.fileno(), errors.fileno(), timeout)
        out.seek(0)
        errors.seek(0)
        said, told = out.read().decode(), "" if together else errors.read().decode()
    return subprocess.CompletedProcess(words, status, said, told)


@functools.cache
def _server(libraries: str) -> _Server:
    return _Server(LIBRARIES[libraries])


class _Server:
    """Of one set of libraries; it ends with this process."""

    def __init__(self, libraries: tuple[str, ...]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.programs", *libraries],
            env=os.environ | QUIET | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        atexit.register(self.stop)

    def stop(self) -> None:
        """It ends with its standard input."""
        with self.process:
            pass

    def run(self, job: dict, out: int, errors: int, timeout: float) -> int:
        """The exit status, negative for a signal."""
        assert self.process.stdin
        place = f"/proc/{os.getpid()}/fd"
        job |= {"out": f"{place}/{out}", "errors": f"{place}/{errors}"}
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        pid = self._answer(timeout)
        try:
            return self._answer(timeout)
        except TimeoutError:
            os.killpg(pid, signal.SIGKILL)
            self._answer(timeout)
            raise

    def _answer(self, timeout: float) -> int:
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise TimeoutError
        return int(self.process.stdout.readline())


def _serve() -> dict:
    """Answers each line with a program's process number, then with its status.

    Returns:
        in a fork, what it has to do.
    """
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            return json.loads(line)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    sys.exit(0)


def _become(job: dict) -> None:
    """Runs the program in this process."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, path in ((1, job["out"]), (2, job["errors"])):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    first, *rest = job["command"]
    if first == sys.executable:
        flag, module, *rest = rest
        assert flag == "-m", job["command"]
        sys.argv = [module, *rest]
        sys.path[0] = job["cwd"]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        sys.path[0] = str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.freeze()
    _become(_serve())
