"""The shell of every program: command-line arguments, and one line for each user error."""

from __future__ import annotations

import argparse
import ctypes
import errno
import getpass
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from autox3d.core import environment, extras
from autox3d.core.errors import Refused
from autox3d.runtime import activity

FIXES = {
    errno.EACCES: "Make it accessible to user {user}, or choose another place.",
    errno.EPERM: "Make it accessible to user {user}, or choose another place.",
    errno.EROFS: "Choose a place that can be written.",
    errno.ENOSPC: "Free some space and run again.",
    errno.EDQUOT: "Free some space and run again.",
    errno.ENOENT: "Run the stage that makes it (dvc repro), or fix the path.",
    errno.ENOTDIR: "Fix the path: a part of it is a file.",
    errno.EISDIR: "Fix the path: it is a folder.",
}
RESUME = 75  # exit status of a stage that saved and stopped (EX_TEMPFAIL): run it again
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
STOPPED: dict[object, str] = {  # exit status of a stage that a signal ended: its last line
    RESUME: "saved and stopped: run again to resume.",
    128 + signal.SIGINT: "stopped: run again.",
    128 + signal.SIGTERM: "stopped: run again.",
}
_said = False
HEAD_START = 5.0  # s that the other ranks wait, so that rank 0 prints an error they all have


def arguments(doc: str | None, *names: str, words: Sequence[str] = ()) -> SimpleNamespace:
    """Parses the command line: `arguments(__doc__, "clips", "out_dir").out_dir` is a Path.

    Every flag is required (`--clips PATH --out-dir PATH`). An unknown one ends the program with
    status 2 and prints the usage.

    Args:
        doc: the description that --help prints
        names: flags whose values are paths
        words: flags whose values are names, not paths
    """
    spec = sys.modules["__main__"].__spec__
    parser = argparse.ArgumentParser(
        prog=f"python -m {spec.name}" if spec else None,
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name in words:
        parser.add_argument(f"--{name}", required=True, metavar="NAME")
    for name in names:
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=Path, required=True, metavar="PATH")
    return SimpleNamespace(**vars(parser.parse_args()))


def run(main: Callable[[], Any]) -> NoReturn:
    """Calls `main` and exits: with 0, with 1 and one line for a user error, or with a traceback.

    SIGTERM unwinds `main`, so that temporary files are removed and `finally` blocks run. A stage
    that a signal ends prints a last line: run again.
    """
    _with_code_of_workspace()
    signal.signal(signal.SIGTERM, _terminated)
    _escape_names()
    if os.environ.keys() & {"DVC_STAGE", "TORCHELASTIC_RUN_ID"}:
        die_with_parent()
    activity.begin()
    try:
        main()
    except Refused as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if (line := extras.missing(error)) is None:
            activity.ended("failed", str(error))
            raise
        _fail(line)
    except OSError as error:
        if error.errno not in FIXES:
            activity.ended("failed", str(error))
            raise
        _fail(_os_line(error))
    except KeyboardInterrupt:
        _stopped(128 + signal.SIGINT)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:
        _stopped(end.code)
        raise
    except Exception as error:
        activity.ended("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to unwind
    activity.ended("done")
    sys.exit(0)


def _escape_names() -> None:
    r"""Lets stdout print any name, as stderr does: \udce9 for a byte that is not UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _with_code_of_workspace() -> None:
    """Starts this process again with the code of its workspace, where it has that of the clone.

    DVC runs a queued experiment in a copy of the clone, with the code from when it was queued, but
    the environment has the package that is installed: the clone as it is now.
    """
    source, path = Path("src").resolve(), os.environ.get("PYTHONPATH", "")
    if environment.clone() == Path() or source in Path(__file__).parents:
        return
    if (source / "autox3d").is_dir() and str(source) not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = f"{source}{os.pathsep}{path}".rstrip(os.pathsep)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _terminated(number: int, _frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not break into the first's clean-up
    sys.exit(128 + number)


def _stopped(code: object) -> None:
    """The last line of a stage that a signal has ended: what to do now."""
    global _said
    if code not in STOPPED:
        why = f"status {code}" if isinstance(code, int) else str(code)
        activity.ended("failed" if code else "done", why if code else "")
        return
    activity.ended("stopped", STOPPED[code])
    stage = os.environ.get("DVC_STAGE")
    if stage and "RANK" not in os.environ and not _said:
        print(f"{stage}: {STOPPED[code]}", file=sys.stderr, flush=True)
        _said = True  # a launcher runs its one process in itself


def die_with_parent() -> None:
    """Lets the kernel kill this process when its parent ends for any reason: no orphans."""
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, linux/prctl.h


def _os_line(error: OSError) -> str:
    """The line for an OS error: `data/clips: permission denied. Make it accessible to ...`."""
    assert error.errno in FIXES
    what = os.strerror(error.errno).lower()
    fix = FIXES[error.errno].format(user=getpass.getuser())
    place = (
        error.filename if error.filename is not None else error
    )  # Arrow has the path in its text
    return f"{place}: {what}. {fix}"


def _fail(line: str) -> NoReturn:
    """Prints the line on stderr, once if all ranks fail for the same reason; exits with 1."""
    rank = int(os.environ.get("RANK", "0"))
    if rank:  # once rank 0 has ended, the launcher ends this process
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(HEAD_START)
        line = f"rank {rank}: {line}"
    activity.ended("failed", line)
    print(line, file=sys.stderr, flush=True)
    sys.exit(1)
