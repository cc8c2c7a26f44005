"""The shell of every program: command-line arguments, and one line for each user error."""

from __future__ import annotations

import argparse
import ctypes
import errno
import getpass
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from autox3d.core import extras
from autox3d.core.errors import Refused

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

    SIGTERM unwinds `main`, so that temporary files are removed and `finally` blocks run.
    """
    signal.signal(signal.SIGTERM, _terminated)
    if os.environ.keys() & {"DVC_STAGE", "TORCHELASTIC_RUN_ID"}:
        die_with_parent()
    try:
        main()
    except Refused as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if (line := extras.missing(error)) is None:
            raise
        _fail(line)
    except OSError as error:
        if error.errno not in FIXES:
            raise
        _fail(_os_line(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to unwind
    sys.exit(0)


def _terminated(number: int, _frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not break into the first's clean-up
    sys.exit(128 + number)


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
    print(line, file=sys.stderr, flush=True)
    sys.exit(1)
