"""Clips are found by their table and read from their shards, or the user is told what to do."""

import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pandas as pd
import pytest
from support import shards

from autox3d.core import tables
from autox3d.core.errors import Refused
from autox3d.vision.clips import order


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return shards.make(tmp_path_factory.mktemp("store"), count=6)


def test_a_clip_is_the_member_of_its_shard(table):
    """Any reader of tar files finds the same bytes."""
    clips = shards.clips(table)
    found = {}
    for path in (table.parent / "shards").iterdir():
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    for index, key in enumerate(clips.keys):
        assert clips.bytes(index) == found[f"{key.decode()}.mp4"]
        assert clips.video(index).count == clips.frames[index]


def test_splits_and_halves_are_kept_apart(table):
    rows = tables.read_table(table)
    train, test = shards.clips(table), shards.clips(table, "test")
    assert len(train) + len(test) == len(rows)
    assert not set(train.keys.tolist()) & set(test.keys.tolist())
    halves = [shards.clips(table, "train", half) for half in ("weights", "alpha")]
    assert sorted(k for half in halves for k in half.keys.tolist()) == sorted(train.keys.tolist())
    labels = dict(zip(rows["key"], rows["label"], strict=True))
    assert [labels[key.decode()] for key in train.keys] == train.labels.tolist()
    assert train.classes == shards.CLASSES


def test_another_process_opens_its_own_files(table):
    clips = shards.clips(table)
    first = clips.bytes(0)
    copy = pickle.loads(pickle.dumps(clips))
    clips.close()
    assert copy.bytes(0) == first == clips.bytes(0)


def test_a_table_without_such_clips_says_so(table):
    with pytest.raises(Refused) as caught:
        shards.clips(table, "val")
    assert str(caught.value) == (
        f"{table}: no clip of split 'val'. Look at results/data.json for the reason."
    )


def test_a_missing_shard_is_named(table, tmp_path):
    clips = shards.Clips.load(table, split="train", shards=tmp_path)
    with pytest.raises(Refused) as caught:
        clips.bytes(0)
    assert str(caught.value) == (
        f"{tmp_path}/0.tar: there is no such file. Run the stage `transcode`."
    )


@pytest.mark.parametrize("harm", ["cut", "shifted"])
def test_a_shard_of_another_table_is_refused(table, tmp_path, harm):
    """A shorter one, and one with other bytes in the place of a clip."""
    for path in (table.parent / "shards").iterdir():
        data = path.read_bytes()
        (tmp_path / path.name).write_bytes(data[:2000] if harm == "cut" else b"x" * 512 + data)
    clips = shards.Clips.load(table, split="train", shards=tmp_path)
    with pytest.raises(Refused) as caught:
        clips.video(0)
    assert str(caught.value) == (
        f"{tmp_path}/0.tar: not the shard that the table describes. Run `dvc repro`."
    )


MANY = """
import os, pathlib, resource, sys
from autox3d.vision.clips.store import Clips

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
folder = pathlib.Path(sys.argv[1])
clips = Clips.load(folder / "clips.parquet", split="train", shards=folder)
for index in [*range(len(clips)), 3, 90, 3]:
    assert clips.bytes(index) == f"{index:03d}".encode()
print(len(os.listdir("/proc/self/fd")) < 40)
"""


def test_more_shards_than_a_process_may_open_files(tmp_path):
    """Those not used for longest are closed, and opened again when they are."""
    names = [f"{number:03d}" for number in range(100)]
    for name in names:
        (tmp_path / name).write_text(name)
    rows = pd.DataFrame({"key": names, "shard": names})
    rows = rows.assign(label=0, split="train", offset=0, length=3, frames=1)
    tables.write_table(rows, tmp_path / "clips.parquet")
    command = [sys.executable, "-c", MANY, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.stdout.strip() == "True", told.stderr


OPENS = """
import pathlib, sys, time
import numpy as np
import torch
from autox3d.vision.clips import order
from autox3d.vision.clips.store import Clips

def used():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

memory, began = used(), time.process_time()
clips = Clips.load(pathlib.Path(sys.argv[1]), split="train")
_, steps = order.epoch_jobs(len(clips), 1024, 8, seed=1, epoch=3, world=(63, 64))
seconds = time.process_time() - began
rows = np.concatenate([job[:, 0] for step in steps for job in step])
print(len(steps), len(rows), len(np.unique(rows)), used() - memory, seconds)
"""


def test_kinetics_opens_in_two_seconds_and_300_megabytes(tmp_path):
    """240,000 rows: opened, ordered for an epoch, and dealt out to the last of 64 processes."""
    count = 240_000
    number = np.arange(count)
    rows = pd.DataFrame(
        {
            "key": [f"{n:011d}_000010_000020" for n in number],
            "label": number % 400,
            "split": "train",
            "shard": [f"{n % 240}.tar" for n in number],
            "offset": number * 700_000,
            "length": 700_000,
            "frames": 300,
            "sha256": "0" * 64,
        }
    )
    tables.write_table(rows, tmp_path / "clips.parquet", classes=[str(n) for n in range(400)])
    command = [sys.executable, "-c", OPENS, str(tmp_path / "clips.parquet")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [int(value) for value in told[:3]] == [234, 234 * 16, 234 * 16]
    assert float(told[3]) < 300  # MB beyond the imports
    assert float(told[4]) < 2  # s of CPU time


def test_64_processes_share_an_epoch_of_kinetics():
    """Each clip of the epoch in one of them, once; a resumed process goes on with its own."""
    parts = [order.epoch_jobs(240_000, 1024, 8, 1, 3, world=(rank, 64)) for rank in range(64)]
    assert sorted(n for numbers, _ in parts for n in numbers) == list(range(128))
    rows = np.concatenate([job[:, 0] for _, steps in parts for step in steps for job in step])
    assert len(np.unique(rows)) == len(rows) == 240_000 // 1024 * 1024
    _, resumed = order.epoch_jobs(240_000, 1024, 8, 1, 3, world=(5, 64), start=200)
    assert np.array_equal(np.array(resumed), np.array(parts[5][1][200:]))
