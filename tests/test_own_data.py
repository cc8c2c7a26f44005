"""docs/OWN_DATA.md and docs/BOXES.md work as written: each command, in order, in a fresh clone."""

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
BRIEF = {  # in place of minutes, for what takes long
    "autox3d start clips\n": "autox3d start clips --minutes 0.2\n",
    "published/x3d_s clips\n": "published/x3d_s clips --minutes 0.2\n",
}


def clone(root: Path) -> Path:
    """A clone of the last commit with `clips/`."""
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
    """The first command holds out some videos of each class, and only the user's are shown."""
    root = clone(tmp_path / "clone")
    type_in(root, BLOCKS[0])
    shown = type_in(root, BLOCKS[1])
    assert "30 videos of 3 classes: cells 10, colours 10, life 10" in shown
    assert "    dvc repro page@x3d" in shown
    type_in(root, "dvc repro index")

    found = json.loads((root / "results/data.json").read_text())
    assert found["listed"] == found["usable"] == 3 * VIDEOS
    assert {row["class"]: row["usable"] for row in found["by_class"]} == dict.fromkeys(CLASSES, 10)
    assert {name: split["usable"] for name, split in found["by_split"].items()} == {
        "train": 21,
        "val": 9,
    }
    assert not any((root / "results").rglob("summary/*.json"))  # of the demo; of ours, later
    shown = type_in(root, "dvc metrics show")
    assert "x3d_s" not in shown
    assert "top1" not in shown
    assert (root / "data/raw").resolve() == (root / "clips").resolve()


@pytest.mark.long
def test_every_command_of_the_page_works(tmp_path):
    """From scratch and from published weights: a page, five numbers a network, predictions."""
    root = clone(tmp_path / "clone")
    publish(root / "X3D_S.pyth")
    output = {}
    for block in BLOCKS:
        for usual, brief in BRIEF.items():
            block = block.replace(usual, brief)
        output[block] = type_in(root, block)

    answers = "".join(text for block, text in output.items() if "autox3d predict" in block)
    assert len(re.findall(r"^clips/.*\.mp4$", answers, re.MULTILINE)) == 3 * VIDEOS
    for name, init in {"x3d": "params/scratch", "tuned": "data/given/x3d_s"}.items():
        how = json.loads((root / f"data/weights/{name}/model.json").read_text())["how"]
        assert how["params"]["init"] == init
        assert (
            len(json.loads((root / f"results/evaluate/{name}.json").read_text())["per_class"]) == 3
        )
        assert (
            f"<title>{name} on clips</title>" in (root / f"results/pages/{name}.html").read_text()
        )
    shown = type_in(root, "dvc metrics show")
    # The page ends with the settings of a search, whose networks these are.
    assert re.findall(r"results/summary/(\w+).json", shown) == ["s", "x3d"]
    assert "evaluate@x3d " in list(output.values())[-1]  # of the plan, which is last


def test_no_folder_to_start_from_is_one_line(tmp_path):
    """It names the value of the setting and both fixes."""
    params = settings.load(ROOT / "params.yaml").train["s"]
    assert given(params) == {}
    with pytest.raises(Refused) as caught:
        given(replace(params, init=str(tmp_path / "gone")))

    assert str(caught.value) == (
        f"params.yaml: no folder of weights: {tmp_path}/gone. Make it, or use params/scratch."
    )


@pytest.mark.long
def test_the_commands_for_boxes_work(tmp_path):
    """A list without splits becomes a page, and its network says what boxes of a film do."""
    root = clone(tmp_path / "clone")
    (root / "films").mkdir()
    rows = ["path,second,x1,y1,x2,y2,label"]
    for seed in range(8):
        path = root / f"films/day{seed}.mp4"
        made = f"life=s=128x96:r=15:seed={seed + 1}"
        corpus.ffmpeg("-f", "lavfi", "-i", made, *corpus.H264, seconds=3, to=path)
        for second in (1, 1.5):
            rows.append(f"day{seed}.mp4,{second},0.05,0.1,0.45,0.9,walk")
            rows.append(f"day{seed}.mp4,{second},0.5,0.1,0.95,0.9,talk;sit")
    (root / "films/boxes.csv").write_text("".join(f"{row}\n" for row in rows))
    (root / "found.csv").write_text("second,x1,y1,x2,y2\n2,0.1,0.1,0.4,0.9\n")
    (root / "film.mp4").symlink_to(root / "films/day0.mp4")
    page = (ROOT / "docs/BOXES.md").read_text()
    begin, _, answers = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)

    shown = type_in(root, begin.replace("boxes.csv\n", "boxes.csv --minutes 0.2\n"))
    assert "8 films with boxes at 16 moments of 3 classes: sit 8, talk 8, walk 8" in shown
    found = (root / "results/pages/x3d.html").read_text()
    assert "boxes asked about and" in found
    assert {"walk", "talk", "sit"} <= set(type_in(root, answers).split())
    assert (root / "out.mp4").stat().st_size > 1000
