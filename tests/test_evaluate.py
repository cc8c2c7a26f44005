"""Every view of every test video counts once, however many processes share them."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support import killing, spaces

from autox3d.core import settings, tables
from autox3d.evaluation.run import every_view, summarise
from autox3d.runtime.distributed import join
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models.network import VideoNet, open_branches
from autox3d.vision.models.weights import Trained

pytestmark = pytest.mark.timeout(1200)

MOST = 65  # videos
SOME = (1, 2, 5, 31)
VIEWS = [
    ("center", "center"),
    *(("lcr", side) for side in ("left", "center", "right")),
]  # of one clip a video


@pytest.fixture(scope="module")
def folder(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with N.parquet for each N: real videos, some of them under several keys."""
    folder = tmp_path_factory.mktemp("counts")
    (folder / "shards").symlink_to(clips / "shards")
    rows = tables.read_table(clips / "clips.parquet")
    (folder / "s.yaml").write_text(spaces.GENOTYPE)
    every = pd.concat([rows] * 3, ignore_index=True)[:MOST]
    every["key"] = [f"k{number:02d}" for number in range(MOST)]
    every["split"] = "test"
    classes = tables.read_classes(clips / "clips.parquet")
    for count in range(1, MOST + 1):
        tables.write_table(every[:count], folder / f"{count}.parquet", classes)
    return folder


def found(
    runner: killing.Runner, folder: Path, counts: tuple[int, ...], processes: int
) -> dict[str, list[Any]]:
    """The results of `processes` processes for each number of videos."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    context = runner.context
    out = folder / f"{processes}.json"
    ranks = [
        context.Process(target=_rank, args=(folder, counts, rank, processes, port, out))
        for rank in range(processes)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(600)
        assert rank.exitcode == 0
    return json.loads(out.read_text())


def _rank(
    folder: Path, counts: tuple[int, ...], rank: int, processes: int, port: str, out: Path
) -> None:
    """Runs one process; rank 0 writes [rows, keys and views, digest, accuracy] for each count."""
    torch.set_num_threads(1)
    world = {"RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({name: str(value) for name, value in world.items()})
    os.environ.update(MASTER_PORT=port, AUTOX3D_WORKERS="0", GLOO_SOCKET_IFNAME="lo")
    params = settings.Evaluate(
        split="test",
        splits=(),
        clips=(1,),
        crops=3,
        rule="ends",
        sampling="linspace",
        pool="mean",
        batch=3,
    )
    summary = {}
    with join() as here:
        genotype = Genotype.load(folder / "s.yaml")
        torch.manual_seed(1)
        net = VideoNet(genotype, 3)
        open_branches(net, 1.0)
        for count in counts:
            path = folder / f"{count}.parquet"
            clips = Clips.load(path, split="test", shards=folder / "shards")
            trained = Trained(net, genotype, list(clips.classes), {}, {})
            parts = every_view(trained, clips, params, here, out.with_suffix(f".{count}"))
            table = parts.table()
            if table is None:
                continue
            parts.discard()
            views = [list(row) for row in table[["key", "crops", "side"]].itertuples(index=False)]
            digest = hashlib.sha256()
            for scores in table["scores"]:
                digest.update(scores.tobytes())
            top1 = summarise(table, trained, clips, params).headline.metrics["top1"]
            summary[count] = [views, digest.hexdigest(), top1]
    if rank == 0:
        out.write_text(json.dumps(summary))


def check(
    runner: killing.Runner, folder: Path, counts: tuple[int, ...], processes: list[int]
) -> None:
    """Checks that each view of each video is there once, with the scores of one process."""
    alone = found(runner, folder, counts, 1)
    for count in counts:
        keys = [f"k{number:02d}" for number in range(count)]
        assert alone[str(count)][0] == [[key, *view] for key in keys for view in VIEWS]
    for number in processes:
        assert found(runner, folder, counts, number) == alone, number


def test_three_processes_score_as_one(runner, folder):
    """There are fewer videos than processes, as many, and numbers that do not divide evenly."""
    check(runner, folder, SOME, [3])


@pytest.mark.long
def test_one_to_four_processes_score_every_number_of_videos_alike(runner, folder):
    """This holds for 1 to 65 videos."""
    check(runner, folder, tuple(range(1, MOST + 1)), [2, 3, 4])
