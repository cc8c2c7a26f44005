"""Each command that README.md and docs/ print is one that the program of its name takes as written.

docs/LOG.md is left out: its commands are those of their day. The commands of docs/OWN_DATA.md and
CONTRIBUTING.md are also run, one after another, by tests of their own.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT, programs, results_folder
from support.corpus import KINDS
from support.toy import ENVIRONMENT
from support.trained import trained

from autox3d.cli import parser
from autox3d.commands import start
from autox3d.core import settings
from autox3d.vision.models import weights

DOCS = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "LOG.md"]
PAGES = [ROOT / "README.md", *DOCS, ROOT / "data/README.md"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (?=\S)((?:.*\\\n)*.*)", re.MULTILINE)
INLINE = re.compile(r"`((?:autox3d|dvc|make|python|snakemake) [^`]+)`")
SHELL = {"[", ".", "cat", "class", "cp", "createdb", "do", "done", "export", "ffmpeg", "for", "git",
         "mkdir", "number", "open", "sed", "split", "unrar", "video"}  # fmt: skip
PLACES = {"...", "VIDEO...", "FOLDER", "study@..."}  # what stands for the reader's own


def commands(page: Path) -> list[str]:
    """The commands of a page: of its blocks, and between backticks."""
    text = page.read_text()
    prose = FENCED.sub("", text)
    blocks = [block for kind, block in FENCED.findall(text) if kind in ("", "sh")]
    found = []
    for block in [*blocks, "\n".join(INDENTED.findall(prose))]:
        lines = re.sub(r"\s#\s.*", "", block.replace("\\\n", " "), flags=re.MULTILINE).splitlines()
        parts = [part.strip() for line in lines for part in line.split(" && ") if part.strip()]
        if any(first(part) in CHECKS for part in parts):  # and not a map or a diagram
            found += parts
    return [*found, *INLINE.findall(prose)]


def first(line: str) -> str:
    """The program of a command, or the variable that it sets."""
    return line.split()[0].partition("=")[0]


def cases() -> Iterator[tuple[str, str]]:
    """(program, command), each command once."""
    for line in dict.fromkeys(line for page in PAGES for line in commands(page)):
        if first(line) in CHECKS and len(line.split()) > 1:
            yield first(line), line


def parsed(parse: Callable[[list[str]], Any], words: list[str]) -> Any:
    """The arguments; None for a command that is only named, whose --help has all its flags."""
    alone = [word for word in words if word.startswith("-")] == words[1:]
    if not alone and not PLACES & set(words):
        return parse(words)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        parse([words[0], "--help"])
    assert ended.value.code == 0
    assert all(flag in out.getvalue() for flag in words if flag.startswith("-"))
    return None


def of_autox3d(words: list[str]) -> None:
    """The parser takes it; a command alone, or with what is left to the reader, is one of ours."""
    parsed(parser().parse_args, words)


def of_dvc(words: list[str]) -> None:
    """DVC's parser takes it, and a stage that it names is there."""
    from dvc.cli import parse_args

    if "STAGE" in words:
        words = [*words[: words.index("STAGE")], "report"]
    args = parsed(parse_args, words)
    files = [ROOT / "params.yaml", ROOT / "params/studies/demo.yaml"]
    items = {item for file in files for item in names(yaml.safe_load(file.read_text()))}
    for stage in getattr(args, "targets", None) or []:
        entry, _, item = stage.partition("@")
        assert entry in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        assert item in {"", *items, start.FROM_SCRATCH, start.TUNED}  # which `start` writes


def names(content: Any) -> Iterator[str]:
    """Every key and every item of a list: of these are the items of stages."""
    if isinstance(content, dict):
        yield from map(str, content)
        content = list(content.values())
    if isinstance(content, list):
        for one in content:
            yield from names(one) if isinstance(one, dict | list) else [str(one)]


def of_snakemake(words: list[str]) -> None:
    """Its parser takes it, and the profile is there."""
    from snakemake.cli import get_argument_parser

    args = get_argument_parser().parse_args(words)
    assert not args.workflow_profile or Path(ROOT, args.workflow_profile).is_dir()


def of_make(words: list[str]) -> None:
    """The target has a recipe."""
    subprocess.run(["make", "--dry-run", *words], cwd=ROOT, check=True, capture_output=True)


def of_python(words: list[str]) -> None:
    """The module or file answers --help and knows the flags; code of -c is Python."""
    if words[0] == "-c":
        ast.parse(words[1])
        return
    if "autox3d.runtime.mirror" in words:
        return  # it needs MLflow; test_tracking types it
    known = _help(*words[: 2 if words[0] == "-m" else 1])
    assert all(flag in known for flag in words[1:] if flag.startswith("--"))


@functools.cache
def _help(*program: str) -> str:
    """What `python -m module --help` prints, or `python file.py --help`."""
    words: list[str | Path] = [sys.executable, *program]
    if len(program) == 1:
        words = [ROOT / program[0]]
    if program[-1] == "autox3d.runtime.launch":
        words.append("train")
    done = programs.run("networks", [*words, "--help"], ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_mlflow(words: list[str]) -> None:
    """Its parser takes it: an unknown flag goes before --help."""
    done = programs.run("tracking", [sys.executable, "-m", "mlflow", *words, "--help"], ROOT)
    assert done.returncode == 0, done.stderr


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "autox3d": of_autox3d,
    "dvc": of_dvc,
    "snakemake": of_snakemake,
    "make": of_make,
    "python": of_python,
    "mlflow": of_mlflow,
}


def test_every_command_is_of_a_known_program():
    """One of another kind needs a check here."""
    found = {first(line) for page in PAGES for line in commands(page)}

    assert found - SHELL == set(CHECKS)
    assert len(list(cases())) > 60


@pytest.mark.slow
@pytest.mark.parametrize(("program", "line"), list(cases()), ids=lambda text: text[:60])
def test_a_command_is_taken_as_written(program: str, line: str) -> None:
    """By the parser of its program, without being run."""
    CHECKS[program](shlex.split(line)[1:])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pipeline has run, as far as the commands below look at what it made."""
    root = tmp_path_factory.mktemp("workspace")
    results_folder.make(root)
    for name in ("architectures", "params"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        shutil.copy(ROOT / name, root)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    weights.save(root / "data/weights/s", *trained(), {})
    KINDS["plain.mp4"][1](root / "video.mp4")
    return root


RUN = ("Use the network", "How far to trust a search", "Looking at the results")
LEFT = (
    "autox3d bench",
    "autox3d profile",
    "autox3d compare",
    "autox3d push",
    "make",
    "dvc",
    "open",
)


def readme_commands() -> list[str]:
    """Those of the sections RUN that take seconds and neither history nor the network."""
    text = (ROOT / "README.md").read_text()
    sections = (text.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in RUN)
    blocks = [body for section in sections for kind, body in FENCED.findall(section) if not kind]
    lines = [re.sub(r"\s+#\s.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(LEFT)]


@pytest.mark.slow
def test_the_readmes_commands_run_in_its_order(workspace: Path) -> None:
    """Where a video or a folder is the reader's own, it is one of ours; nothing else is changed."""
    lines = readme_commands()
    assert len(lines) > 8
    for line in lines:
        command = line.replace("VIDEO...", "video.mp4")
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=workspace,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    settings.load(workspace / "params.yaml")  # with the studies that were added
    for made in ("s.onnx", "s/README.md", "random/random_16.yaml"):
        assert (workspace / made).exists()
