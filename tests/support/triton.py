"""Programs that alone have Triton, for its interpreter or its compiler: it is not in .venv."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support import ROOT

FOLDER = ROOT / ".triton"


def alone(*words: str, interpreted: bool = True) -> list[str]:
    """The lines that Python prints, in a process that alone has Triton."""
    if not (FOLDER / ".ready").exists():
        pytest.skip("Triton is not in .triton: make .triton/.ready")
    paths = os.pathsep.join(map(str, (ROOT / "src", FOLDER, ROOT)))
    env = os.environ | {"PYTHONPATH": paths} | ({"TRITON_INTERPRET": "1"} if interpreted else {})
    command = [sys.executable, *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
