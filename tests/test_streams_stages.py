"""The stages on a network of two streams and on a space of them, killed and resumed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from support import killing, programs
from support.killing import Runner
from support.spaces import SHAPE

from autox3d.core.records import Explanation, Latency
from autox3d.core.search_records import Alpha, Derived
from autox3d.search.space import Space
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights

pytestmark = pytest.mark.timeout(1200)

# The sparse stream is fixed, as where it was found before; the dense one and the fusions are open.
SPACE = f"""\
name: second
{SHAPE}\
  - {{kernel: [t1_s3], expansion: [1.5], channels: [16],
     blocks: 1, stride: 2, squeeze_excite: even, attention: [none]}}
  - {{kernel: [t1_s3], expansion: [1.5], channels: [16],
     blocks: 1, stride: 1, squeeze_excite: even, attention: [none]}}
dense:
  alpha: 2
  stem: {{channels: 4, temporal_kernel: 1}}
  head: 8
  groups:
    - {{kernel: [t1_s3, t3_s3], expansion: [1.5], channels: [4, 8], blocks: 1, stride: 2,
       squeeze_excite: none, attention: [none], fuse: [skip, sample]}}
    - {{kernel: [t3_s3], expansion: [1.5], channels: [4, 8], blocks: 1, stride: 1,
       squeeze_excite: none, attention: [none], fuse: [skip, conv, channels]}}
"""


def laid_out(clips: Path, folder: Path, like: Path | None = None) -> Path:
    """The space, and a network of it to train."""
    folder = killing.fresh(clips, folder, like)
    (folder / "space.yaml").write_text(SPACE)
    space = Space.load(folder / "space.yaml")
    last = tuple(len(choice.candidates) - 1 for choice in space.choices)
    space.genotype(last, "s").save(folder / "s.yaml")
    return folder


def test_a_killed_training_of_two_streams_ends_with_the_same_bits(clips, runner: Runner, tmp_path):
    """Its network is saved with both streams, and tested by one process as by three."""
    whole = laid_out(clips, tmp_path / "whole")
    wanted = runner.finish("train", whole)
    other = laid_out(clips, tmp_path / "killed")
    assert runner.run("train", other, POINT="half:6") == -9

    assert runner.finish("train", other) == wanted
    trained = weights.load(whole / "weights")
    assert trained.genotype == Genotype.load(whole / "s.yaml")
    assert [kind for kind, *_ in trained.genotype.fusions] == ["sample", "channels"]
    assert runner.finish("evaluate", whole) == runner.finish("evaluate", whole, 3)


@pytest.mark.slow
def test_a_search_of_the_dense_stream_and_its_fusions_resumes(clips, runner: Runner, tmp_path):
    """Killed at alpha's step it ends with the same bits; what is derived has both streams."""
    whole = laid_out(clips, tmp_path / "whole")
    runner.finish("warmup", whole)
    wanted = runner.finish("search", whole)
    other = laid_out(clips, tmp_path / "killed", whole)
    assert runner.run("search", other, POINT="alpha:5") == -9

    assert runner.finish("search", other) == wanted
    assert runner.run("derive", whole) == 0
    choices = Alpha.read(whole / "alpha.json").choices
    assert [(c.group, c.candidates) for c in choices if c.column == "fuse"] == [
        (3, ("skip", "sample")),
        (4, ("skip", "conv", "channels")),
    ]
    found, derived = Genotype.load(whole / "found.yaml"), Derived.read(whole / "derive.json")
    assert Space.load(whole / "space.yaml").draw(found)
    assert derived.found.groups == found.choices
    assert [len(row.split()) for row in found.choices] == [4, 4, 5, 5]


@pytest.mark.slow
def test_a_network_of_two_streams_is_timed_explained_and_reported(clips, runner, tmp_path):
    """Latency of all views, a heat map of each frame of the dense stream, and both in the page."""
    folder = laid_out(clips, tmp_path / "made")
    for stage in ("train", "evaluate"):
        runner.finish(stage, folder)
    results = folder / "results"
    for place, file in {
        "genotypes/s.yaml": "s.yaml",
        "train/s.csv": "curve.csv",
        "train/s_made.json": "made.json",
        "evaluate/s.json": "evaluate.json",
        "evaluate/s_confusion.csv": "confusion.csv",
    }.items():
        (results / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / file, results / place)
    program(folder, "latency", "--weights weights --latency results/latency/s.json")
    flags = "--weights weights --clips clips.parquet --scores scores.parquet"
    program(folder, "explain", f"{flags} --out results/explain/s.json")
    program(folder, "report", "--results results --page page.html --table table.md")

    genotype = Genotype.load(folder / "s.yaml")
    shown = Explanation.read(results / "explain/s.json")
    clip = next(iter([*shown.right, *(pair.clips[0] for pair in shown.confused)]))
    assert len(clip.by_frame) == genotype.input.frames == 4
    timed = Latency.read(results / "latency/s.json")
    assert 0 < timed.batched.low <= timed.batched.median
    page, table = (folder / "page.html").read_text(), (folder / "table.md").read_text()
    assert "The 30 views of a video take" in page
    assert "explain/s.json" in page
    side = cost(genotype, len(weights.load(folder / "weights").classes), 4, 32).gmacs
    assert f"A view costs {side:.3g} G multiply-adds" in page
    assert [line for line in table.splitlines() if line.startswith("| s ")]


def program(folder: Path, stage: str, flags: str) -> None:
    """Runs a stage in the folder."""
    command = [sys.executable, "-m", f"autox3d.stages.{stage}", *flags.split()]
    own = killing.ENVIRONMENT | {"AUTOX3D_SHARDS": str(folder / "data/shards")}
    done = programs.run("report", command, folder, os.environ | own)
    assert done.returncode == 0, done.stderr
