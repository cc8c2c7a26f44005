"""The code keeps the order that docs/DESIGN.md draws: imports point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml
from support import ROOT

from autox3d.pipeline import deps
from autox3d.pipeline.deps import imports

SOURCE = ROOT / "src" / "autox3d"

# Room: the rooms that it may import from. A room of `vision` is named by its path.
ARCH, FORMAT = "vision.arch", "vision.clips.format"
SEEN = {ARCH, FORMAT, "vision.kernels", "vision.models", "vision.tasks", "vision.clips",
        "vision.learning"}  # fmt: skip
MAY_IMPORT = {
    "core": set(),
    "runtime": {"core"},
    "pipeline": {"core", "runtime"},
    ARCH: {"core"},
    "sizing": {"core", ARCH},
    "vision": set(),
    "vision.kernels": {"core"},
    "vision.models": {"core", ARCH, "vision.kernels", "vision.tasks"},
    "vision.tasks": {"core"},
    FORMAT: {"core"},
    "vision.clips": {"core", ARCH, FORMAT, "vision.tasks"},
    "vision.learning": {"core", ARCH, "vision.models", "vision.tasks", "vision.clips"},
    "datasets": {"core"},
    "ingest": {"core", FORMAT},
    "search": {"core", "runtime", "sizing"} | SEEN,
    "training": {"core", "runtime"} | SEEN,
    "inference": {"core", "runtime", "sizing", "ingest"} | SEEN,
    "evaluation": {"core", "runtime", "sizing", "inference"} | SEEN,
    "explaining": {"core", "evaluation"} | SEEN,
    "planning": {"core", "runtime", "sizing", "datasets", "search", "training", "ingest"} | SEEN,
    "expanding": {"core", "runtime", "sizing", "search", "training", "evaluation"} | SEEN,
    "studies": {"core", "runtime", "search", "training", "evaluation"} | SEEN,
    "reporting": {"core", "runtime", "sizing", "search", ARCH, "vision.tasks"},
    "serving": {"core", "inference", "ingest"},
}
COMPOSES = (ast.BitOr, ast.Div, ast.Sub)  # of settings, of paths, of clocks
ABOVE = {"stages", "commands", "cli", "__init__"}  # import whatever they need
NEEDS_NO_TORCH = {"core", ARCH, "sizing"}


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def place(path: Path) -> str:
    """The room of a file: search/loop.py -> search, vision/arch/genotype.py -> vision.arch."""
    return room_of(".".join(path.relative_to(SOURCE).with_suffix("").parts))


def room_of(name: str) -> str:
    """vision.clips.format.decode -> vision.clips.format; the deepest room that it lies in."""
    parts = name.split(".")
    rooms = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((room for room in rooms if room in MAY_IMPORT), parts[0])


def own_imports(path: Path) -> set[str]:
    """The rooms of this package that a file imports from."""
    names = (name.partition(".") for name in imports(path))
    return {room_of(rest) for first, _, rest in names if first == "autox3d" and rest}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    """Nothing imports from a room above its own; docs/DESIGN.md draws the floors."""
    here = place(path)

    assert here in ABOVE or own_imports(path) - {here} <= MAY_IMPORT[here]


def test_no_room_can_reach_itself():
    """What the rooms may import makes no circle."""
    for room in MAY_IMPORT:
        seen, todo = set(), set(MAY_IMPORT[room])
        while todo:
            seen |= todo
            todo = set().union(*(MAY_IMPORT[one] for one in todo)) - seen
        assert room not in seen, f"{room} imports itself through others"


@pytest.mark.parametrize("path", [p for p in sources() if place(p) in NEEDS_NO_TORCH], ids=str)
def test_plain_tables_need_no_torch(path):
    """Costs and tables can be worked with where torch is not installed."""
    assert not {n for n in imports(path) if n.split(".")[0] == "torch"}


@pytest.mark.parametrize(
    ("library", "homes"), [("mlflow", {"runtime", "serving"}), ("dvc", {"pipeline"})]
)
def test_engines_have_one_home(library, homes):
    """Only `runtime` and `serving` know MLflow, and only `pipeline` DVC."""
    users = {place(p) for p in sources() if library in {n.split(".")[0] for n in imports(p)}}

    assert users <= homes


def stages() -> dict[str, dict]:
    """The entries of dvc.yaml, matrix and foreach stages by their one definition."""
    found = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: entry.get("do", entry) for name, entry in found.items()}


def test_dvc_yaml_names_the_code_that_the_stages_import():
    """No more, no less; `make deps` writes it."""
    now = (ROOT / "dvc.yaml").read_text()

    assert deps.with_code(now, ROOT) == now


def test_every_stage_is_module_section_and_entry():
    """One name for the entry of dvc.yaml and its program."""
    files = (SOURCE / "stages").glob("*.py")
    programs = {path.stem for path in files if '__name__ == "__main__"' in path.read_text()}

    assert programs == set(stages())


@pytest.mark.parametrize("name", stages())
def test_no_shell_stays_between_the_engine_and_the_stage(name):
    """Where sh forks, a signal would end it and leave the stage an orphan, or unheard."""
    assert stages()[name]["cmd"].startswith("exec python ")


@pytest.mark.parametrize("path", sorted((SOURCE / "stages").glob("*.py")), ids=lambda p: p.stem)
def test_a_stage_computes_nothing(path):
    """Settings, inputs, one call, records: so that no stage need depend on its own program."""
    tree = ast.parse(path.read_text())
    libraries = {name.split(".")[0] for name in imports(path)} & {"numpy", "pandas", "scipy"}
    sums = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and not isinstance(node.op, COMPOSES)
    ]

    assert not libraries
    assert not sums, f"{path.name}, lines {sums}: arithmetic belongs into a room"
    assert len(path.read_text().splitlines()) < 60


def test_files_that_run_in_one_process_are_there():
    """A file that was renamed would lose its place beside those that share its fixtures."""
    import conftest

    assert all((ROOT / "tests" / f"{file}.py").exists() for file in conftest.GROUPS)
