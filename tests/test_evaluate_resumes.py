"""An evaluation that is stopped or killed scores no video twice, and ends with the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support import killing

from autox3d.core import tables
from autox3d.core.errors import Refused
from autox3d.evaluation.parts import Parts
from autox3d.runtime.checkpoint import RESUME
from autox3d.runtime.distributed import World
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet, open_branches

pytestmark = pytest.mark.timeout(600)

PASSES = 2 * 8  # of a network that has scored all videos: 8, by two rules of crops


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a network; random ones have scores, too."""
    folder = killing.fresh(clips, tmp_path_factory.mktemp("trained") / "run")
    genotype = Genotype.load(folder / "s.yaml")
    torch.manual_seed(1)
    net = VideoNet(genotype, 3)
    open_branches(net, 1.0)
    classes = list(tables.read_classes(folder / "clips.parquet"))
    weights.save(folder / "weights", net, genotype, classes, {}, {})
    return folder


def fresh(clips: Path, trained: Path, folder: Path) -> Path:
    killing.fresh(clips, folder)
    (folder / "weights").symlink_to(trained / "weights")
    return folder


@pytest.fixture(scope="module")
def whole(clips, trained, runner, tmp_path_factory) -> dict[str, str]:
    """The digests of what an undisturbed evaluation makes."""
    folder = fresh(clips, trained, tmp_path_factory.mktemp("whole") / "run")
    found = runner.finish("evaluate", folder, COUNTS="counts")

    assert json.loads((folder / "counts").read_text())["score"] == PASSES
    assert not list(folder.glob("checkpoints/*")), "what is done needs no parts"
    return found


@pytest.mark.parametrize(("processes", "done"), [(1, 3), (2, 6)])
def test_sigterm_keeps_what_is_scored(processes, done, clips, trained, whole, runner, tmp_path):
    """A signal within the third video of a process: the round is scored, and nothing again."""
    folder = fresh(clips, trained, tmp_path / "run")
    told = {"TERM": "score:5", "TARGET": "rank", "AUTOX3D_SAVE_EVERY": "600"}

    assert runner.run("evaluate", folder, processes, **told) == RESUME, (folder / "log").read_text()
    assert "Traceback" not in (folder / "log").read_text()
    parts = [tables.read_table(path) for path in folder.glob("checkpoints/*/*/*.parquet")]
    assert len(parts) == processes
    scored = {key for part in parts for key in part["key"]}
    assert len(scored) == done
    assert runner.finish("evaluate", folder, COUNTS="counts") == whole
    again = json.loads((folder / "counts").read_text())["score"]
    assert again == PASSES - 2 * len(scored)


def test_a_killed_evaluation_goes_on_with_other_processes(clips, trained, whole, runner, tmp_path):
    """Parts are written every so many seconds, here after each video: at most one is lost."""
    folder = fresh(clips, trained, tmp_path / "run")

    assert runner.run("evaluate", folder, POINT="score:12") < 0
    assert len(list(folder.glob("checkpoints/*/*/*.parquet"))) >= 4
    assert runner.finish("evaluate", folder, 2) == whole


def test_a_part_that_rank_0_does_not_see_is_refused(clips, tmp_path):
    """Its rank has a disk of its own: results without its videos would look whole."""
    table = Clips.load(clips / "clips.parquet", split="val", shards=clips / "shards")
    parts = Parts(tmp_path / "views", table, World(0, 1, torch.device("cpu")))
    parts._written.append("0.parquet")

    with pytest.raises(Refused) as caught:
        parts.table()
    assert str(caught.value) == (
        f"{tmp_path}/views/0.parquet: rank 0 does not see this file of another rank. "
        f"Run again, where all ranks see the same {tmp_path}/views."
    )
