"""docs/OWN_DATA.md works as written: each of its commands, in order, in a fresh clone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from support import ROOT, corpus

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.inference import published
from autox3d.training.run import given
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models.network import VideoNet

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/OWN_DATA.md").read_text()
BLOCKS = re.findall(r"^```(?:sh|python)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
CLASSES = {"cells": "cellauto", "colours": "gradients", "life": "life"}  # sources of ffmpeg's
VIDEOS = 10  # a class
SMALL = {  # of params/folder.yaml, so that a minute is enough
    "shards: [0, 1, 2, 3, 4, 5, 6, 7]": "shards: [0, 1]",
    "short: 256  #": "short: 96  #",
    "frames: 13, stride: 6, crop: 160, short: 182": "frames: 4, stride: 6, crop: 64, short: 80",
    "jitter: [182, 228]": "jitter: [80, 96]",
    "clips: [1, 3, 5, 7, 10]": "clips: [1, 2]",
}


def clone(root: Path) -> Path:
    """A clone of the last commit with `clips/` and small settings."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
    (root / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("requirements.lock", "pyproject.toml"):  # `make setup` is done
        os.utime(root / name, (0, 0))
    for name, source in CLASSES.items():
        (root / "clips" / name).mkdir(parents=True)
        for seed in range(VIDEOS):
            path = root / "clips" / name / f"{seed}.mp4"
            made = f"{source}=s=128x96:r=15:seed={seed + 1}"
            corpus.ffmpeg("-f", "lavfi", "-i", made, *corpus.H264, seconds=1, to=path)
    settings = (root / "params/folder.yaml").read_text()
    for old, new in SMALL.items():
        assert old in settings
        settings = settings.replace(old, new)
    (root / "params/folder.yaml").write_text(settings)
    return root


def publish(path: Path) -> None:
    """Writes random weights of X3D-S under SlowFast's tensor names."""
    genotype = Genotype.load(ROOT / "architectures/x3d_s.yaml")
    names = published.layer_names(genotype, "SlowFast")
    state = VideoNet(genotype, 400).state_dict()
    places = {name: name.rpartition(".") for name in state}
    tensors = {f"{names[layer]}.{kind}": state[n] for n, (layer, _, kind) in places.items()}
    torch.save({"model_state": tensors}, path)


def type_in(root: Path, commands: str) -> str:
    """The output that a user sees who types the commands."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AUTOX3D_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    environment = kept | {"PATH": path, "PYTHONPATH": str(root / "src"), "DVC_NO_ANALYTICS": "1"}
    program = ["python", "-c"] if commands.startswith("import") else ["bash", "-ec"]
    done = subprocess.run(
        [*program, commands],
        cwd=root,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout


@pytest.mark.timeout(180)
def test_the_first_look_counts_the_videos(tmp_path):
    """The commands up to the data report hold out every fifth video."""
    root = clone(tmp_path / "clone")
    for block in BLOCKS[:3]:
        type_in(root, block)

    found = json.loads((root / "results/data.json").read_text())
    assert found["listed"] == found["usable"] == 3 * VIDEOS
    assert {row["class"]: row["usable"] for row in found["by_class"]} == dict.fromkeys(CLASSES, 10)
    assert {name: split["usable"] for name, split in found["by_split"].items()} == {
        "train": 24,
        "val": 6,
    }


@pytest.mark.long
def test_every_command_of_the_page_works(tmp_path):
    """Training starts from scratch, from published weights and from our own."""
    root = clone(tmp_path / "clone")
    publish(root / "X3D_S.pyth")
    starts, output = [], ""
    for block in BLOCKS:
        output = type_in(root, block.replace("epochs: 30/", "epochs: 2/").replace("p: 3/", "p: 1/"))
        if "evaluate@x3d_s" in block:
            how = json.loads((root / "data/weights/x3d_s/model.json").read_text())["how"]
            starts.append((how["params"]["init"], how.get("init")))
        if "autox3d predict" in block:
            answers = re.findall(r"^data/raw/videos/val/.*\.mp4$", output, re.MULTILINE)
            assert len(answers) == 6

    folders, digests = zip(*starts, strict=True)
    assert folders == ("params/scratch", "data/given/x3d_s", "data/given/mine")
    assert digests[0] is None
    assert digests[1] != digests[2]
    assert len(json.loads((root / "results/evaluate/x3d_s.json").read_text())["per_class"]) == 3
    assert "evaluate@x3d_s " in output  # of the plan, which is last
    (root / "data/given/mine/model.json").write_text("{}")
    assert "data/given/mine" in type_in(root, "dvc status train@x3d_s")


def test_the_page_changes_what_the_settings_have():
    """Each of its substitutions applies to the shipped file, after the ones before it."""
    settings = (ROOT / "params/folder.yaml").read_text()
    for command in re.findall(r"^sed -i '(.*)' params.yaml$", PAGE, re.MULTILINE):
        changed = subprocess.run(
            ["sed", command], input=settings, capture_output=True, text=True, check=True
        ).stdout
        assert changed != settings
        settings = changed

    usual = yaml.safe_load((ROOT / "params/folder.yaml").read_text())["train"]
    found = yaml.safe_load(settings)["train"]
    shorter = {"epochs": 30, "warmup": 3}
    for name, section in found.items():
        fine_tuned = {"init": "data/given/mine", "lr": 0.1} if name == "x3d_s" else {}
        assert section == usual[name] | shorter | fine_tuned


def test_no_folder_to_start_from_is_one_line(tmp_path):
    """It names the value of the setting and both fixes."""
    params = settings.load(ROOT / "params.yaml").train["s"]
    assert given(params) == {}
    with pytest.raises(Refused) as caught:
        given(replace(params, init=str(tmp_path / "gone")))

    assert str(caught.value) == (
        f"params.yaml: no folder of weights: {tmp_path}/gone. Make it, or use params/scratch."
    )
