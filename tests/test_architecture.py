"""The code keeps the order that docs/DESIGN.md draws: imports point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "autox3d"

PLAIN = {
    "errors", "atomic", "yamlfile", "config", "genotype", "scaling", "cost", "parts", "policy",
    "space",
}  # fmt: skip
PARTS = {"nets", "search", "learn", "video"}
MAY_IMPORT = {
    **dict.fromkeys(PLAIN, PLAIN),
    **dict.fromkeys(PARTS, PLAIN),
    "plan": PLAIN | {"video"},
    "run": PLAIN | PARTS,
    "report": PLAIN | PARTS | {"run", "use"},
    "stages": PLAIN | PARTS | {"run", "report", "use"},
    "use": PLAIN | PARTS | {"run", "plan"},
    "commands": PLAIN | PARTS | {"run", "report", "use", "plan"},
    "cli": {"commands", "run"},
    "__init__": PLAIN | PARTS | {"use"},
}
NEEDS_NO_TORCH = PLAIN
# What moves no result, so that a change in it reruns nothing: settings are tracked by value.
MACHINERY = {"run", "config", "errors", "atomic", "yamlfile", "__init__"}


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def place(path: Path) -> str:
    """nets/blocks.py -> nets; genotype.py -> genotype."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """The places of this package that a file imports: {'nets', 'genotype'}."""
    names = (name.split(".") for name in imports(path))
    return {parts[1] for parts in names if parts[0] == "autox3d" and len(parts) > 1}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    """Plain tables <- nets, search, learn, video <- run <- use <- stages, report, commands."""
    here = place(path)

    assert own_imports(path) - {here} <= MAY_IMPORT[here]


@pytest.mark.parametrize("name", sorted(NEEDS_NO_TORCH))
def test_plain_tables_need_no_torch(name):
    """Costs and tables can be worked with where torch is not installed."""
    assert not {n for n in imports(SOURCE / f"{name}.py") if n.split(".")[0] == "torch"}


@pytest.mark.parametrize(("library", "home"), [("mlflow", "run"), ("dvc", "run")])
def test_engines_have_one_home(library, home):
    """Only `run` knows MLflow and DVC."""
    users = {place(p) for p in sources() if library in {n.split(".")[0] for n in imports(p)}}

    assert users <= {home}


def module_of(name: str) -> Path | None:
    """autox3d.nets.blocks.Block -> .../nets/blocks.py; None for what is not ours."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        path = SOURCE.joinpath(*parts[1:end]).with_suffix(".py")
        if parts[0] == "autox3d" and path.is_file():
            return path
    return None


def closure(start: Path) -> set[str]:
    """The files that a stage's program imports, directly or through others, without machinery.

    The report goes as a folder: its template and its table of published results are in there.
    """
    seen, todo = {start}, [start]
    while todo:
        found = filter(None, map(module_of, imports(todo.pop())))
        new = {path for path in found if place(path) not in MACHINERY} - seen
        seen |= new
        todo += new
    files = (path.relative_to(ROOT) for path in seen)
    return {str(p.parent if p.parent.name == "report" else p) for p in files}


def stages() -> dict[str, dict]:
    """The entries of dvc.yaml, matrix and foreach stages by their one definition."""
    found = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: entry.get("do", entry) for name, entry in found.items()}


@pytest.mark.parametrize("name", stages())
def test_a_stage_depends_on_the_code_that_it_imports(name):
    """No more, no less: a fix in the search trains nothing, one in the loader no transcode."""
    wanted = sorted(closure(SOURCE / "stages" / f"{name}.py"))

    code = sorted(dep for dep in stages()[name]["deps"] if dep.startswith("src/"))

    assert code == wanted, f"in dvc.yaml, {name} should have: {', '.join(wanted)}"


def test_every_stage_is_module_section_and_entry():
    """One name for the entry of dvc.yaml and its program."""
    files = (SOURCE / "stages").glob("*.py")
    programs = {path.stem for path in files if '__name__ == "__main__"' in path.read_text()}

    assert programs == set(stages())


@pytest.mark.parametrize("name", stages())
def test_no_shell_stays_between_the_engine_and_the_stage(name):
    """Where sh forks, a signal would end it and leave the stage an orphan, or unheard."""
    assert stages()[name]["cmd"].startswith("exec python ")
