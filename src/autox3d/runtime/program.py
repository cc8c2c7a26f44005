"""What every stage's program shares: paths from the command line, and one line for each mistake."""

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
RESUME = 75  # exit status of a stage that saved and stopped: run it again (EX_TEMPFAIL)
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
HEAD_START = 5.0  # s for rank 0 to tell what all ranks have to tell


def arguments(doc: str | None, *names: str, words: Sequence[str] = ()) -> SimpleNamespace:
    """What the command line names: `arguments(__doc__, "clips", "out_dir").out_dir` is a Path.

    Every flag is required (`--clips PATH --out-dir PATH`); an unknown one ends the program with
    its usage, status 2.

    Args:
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
    """Calls `main` and exits: 0, or 1 with one line for the user's mistakes, or a traceback.

    SIGTERM unwinds `main`, so that temporary files go and `finally` holds.
    """
    signal.signal(signal.SIGTERM, _terminated)
    if os.environ.keys() & {"DVC_STAGE", "TORCHELASTIC_RUN_ID"}:
        die_with_parent()
    try:
        main()
    except Refused as error:
        _tell(str(error))
    except OSError as error:
        if error.errno not in FIXES:
            raise
        _tell(_os_line(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to unwind
    sys.exit(0)


def _terminated(number: int, _frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not break into the first's clean-up
    sys.exit(128 + number)


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends, however that ends: no orphans."""
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, linux/prctl.h


def _os_line(error: OSError) -> str:
    """`data/clips: permission denied. Make it accessible to user lab, or ...`"""
    assert error.errno in FIXES
    what = os.strerror(error.errno).lower()
    fix = FIXES[error.errno].format(user=getpass.getuser())
    place = error.filename if error.filename is not None else error  # Arrow names it in the text
    return f"{place}: {what}. {fix}"


def _tell(line: str) -> NoReturn:
    """The line on stderr, once for all ranks that have the same to say, then status 1."""
    rank = int(os.environ.get("RANK", "0"))
    if rank:  # once rank 0 has ended, the launcher ends this process
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(HEAD_START)
        line = f"rank {rank}: {line}"
    print(line, file=sys.stderr, flush=True)
    sys.exit(1)
