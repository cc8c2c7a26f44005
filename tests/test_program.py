"""Every stage's program takes paths, and ends with a status and one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = '''"""Copies one table.

python -m copy --clips data/clips --out-dir data/out
"""
import sys, time
from pathlib import Path
from autox3d.core.errors import Refused
from autox3d.runtime.program import arguments, run


def main():
    files = arguments(__doc__, "clips", "out_dir")
    assert isinstance(files.clips, Path)
    if files.clips.name == "bad":
        raise Refused(f"{files.clips}: empty. Add videos.")
    try:
        if files.clips.name == "slow":
            print("at work", flush=True)
            time.sleep(60)
        (files.out_dir / "copy").write_text(files.clips.read_text())
    finally:
        print("cleaned up", flush=True)


run(main)
'''


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    tmp_path.chmod(0o755)
    return [sys.executable, str(path)]


def ended(command: list[str]) -> tuple[int, str]:
    """The exit status of a program and its output on stderr."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_flags_are_paths_and_all_are_needed(program: list[str], tmp_path: Path) -> None:
    """Flags have dashes for underscores; the usage has the text of the module."""
    (tmp_path / "clips").write_text("clip")
    files = ["--clips", str(tmp_path / "clips"), "--out-dir", str(tmp_path)]

    assert ended([*program, *files]) == (0, "")
    assert (tmp_path / "copy").read_text() == "clip"
    status, output = ended([*program, *files[:2]])
    assert status == 2
    assert "the following arguments are required: --out-dir" in output
    status, output = ended([*program, *files, "--ou", "x"])
    assert status == 2
    assert "unrecognized arguments: --ou x" in output
    usage = subprocess.run([*program, "--help"], capture_output=True, text=True).stdout
    assert "Copies one table." in usage


def test_a_mistake_of_the_user_is_one_line(program: list[str], tmp_path: Path) -> None:
    """Status 1, no traceback."""
    assert ended([*program, "--clips", "bad", "--out-dir", "x"]) == (1, "bad: empty. Add videos.\n")
    assert ended([*program, "--clips", "gone", "--out-dir", "x"]) == (
        1,
        "gone: no such file or directory. Run the stage that makes it (dvc repro), "
        "or fix the path.\n",
    )


def test_an_unwritable_folder_is_one_line(program: list[str], tmp_path: Path) -> None:
    """The program runs as a user without root's rights."""
    (tmp_path / "clips").write_text("clip")
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    files = ["--clips", str(tmp_path / "clips"), "--out-dir", str(out)]
    user = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root, and no setpriv to drop its rights")
        user = ["setpriv", "--reuid", "65534", "--clear-groups"]
        for folder in tmp_path.parents[:-2]:  # all of pytest's own
            folder.chmod(0o755)

    status, output = ended([*user, *program, *files])

    assert status == 1
    name = "nobody" if user else os.environ.get("USER", "")
    assert output.startswith(f"{out}/copy: permission denied. Make it accessible to user {name}")
    assert len(output.splitlines()) == 1
    assert not list(out.iterdir())


def test_sigterm_unwinds(program: list[str], tmp_path: Path) -> None:
    """Temporary files are removed, and the status is that of the signal."""
    process = subprocess.Popen(
        [*program, "--clips", "slow", "--out-dir", "x"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGTERM)

    assert process.communicate()[0] == "cleaned up\n"
    assert process.returncode == 128 + signal.SIGTERM
