"""Params files without a search: no engine makes a stage of one, and a small copy gets its page."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT, corpus, killing, programs
from support.studies import BIN

from autox3d.core import settings
from autox3d.core.scores import Evaluation
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILES = ("x3d_kinetics400", "x3d_kinetics600", "somethingv2", "ava", "ava_slowfast", "demo_boxes")
OF_A_SEARCH = {"subset", "warmup", "search", "control", "derive", "scale", "study", "report"}
OF_ONE = ("baseline", "train", "evaluate", "latency", "explain", "summary", "page")
SHARDS = (0, 1)
CLASSES = {"cells & life": "cellauto", "colours": "gradients"}  # sources of ffmpeg's
VIDEOS = 5  # a class: 4 for training, 1 for validation
CLIP = "{frames: 4, stride: 2, crop: 32, short: 40}"


def environment(raw: Path) -> dict[str, str]:
    paths = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    paths |= {"DVC_NO_ANALYTICS": "1", "AUTOX3D_RAW": str(raw), "AUTOX3D_SAVE_EVERY": "600"}
    return os.environ | killing.ENVIRONMENT | paths


def run(folder: Path, *words: str, status: int = 0) -> str:
    """A command in a folder, as a user types it; what it printed."""
    env = environment(folder / "raw")
    done = programs.run("engines", [BIN / words[0], *words[1:]], folder, env, together=True)
    assert done.returncode == status, done.stdout
    return done.stdout


def clone(folder: Path, name: str, **change: Any) -> dict[str, Any]:
    """A repository with the pipeline as committed and a shipped file as params.yaml; its content.

    There are two shards, since 256 make no other stages.

    Args:
        change: sections to update
    """
    folder.mkdir()
    for one in ("src", "params", "workflow", "architectures"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / one, folder / one, ignore=ignored)
    for one in ("dvc.yaml", "Snakefile"):
        shutil.copy(ROOT / one, folder)
    (folder / "results/genotypes").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    run(folder, "dvc", "init", "-q")
    content = yaml.safe_load((ROOT / f"params/{name}.yaml").read_text())
    content["annotate"]["shards"] = list(SHARDS)
    for section, values in change.items():
        content[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    return content


def command(name: str) -> list[str]:
    """What the head of a shipped file says to type."""
    (line,) = re.findall(
        r"^# dvc (repro page@.*)$", (ROOT / f"params/{name}.yaml").read_text(), re.M
    )
    return line.split()


@pytest.mark.parametrize("name", FILES)
def test_no_engine_makes_a_stage_of_a_search(name, tmp_path):
    """The command of the file's head asks for these stages and no others, under both engines."""
    folder = tmp_path / "clone"
    pages = clone(folder, name)["pages"]
    wanted = {"annotate", "index", *(f"transcode@{shard}" for shard in SHARDS)}
    wanted |= {f"{stage}@{network}" for stage in OF_ONE for network in pages}
    targets = command(name)[1:]
    by_dvc = {
        stage
        for target in targets
        for stage in re.findall(r'"(\S+?)"', run(folder, "dvc", "dag", "--dot", target))
    }
    stamps = [f".pipeline/{target}.done" for target in targets]
    planned = run(folder, "snakemake", "--dry-run", "--cores", "1", *stamps)
    by_snakemake = set(re.findall(r"output: \.pipeline/(\S+)\.done", planned))

    assert targets == [f"page@{network}" for network in pages]
    assert by_dvc == by_snakemake == wanted
    assert not {stage.partition("@")[0] for stage in wanted} & OF_A_SEARCH


def test_the_file_with_a_search_is_planned_whole_by_both_engines(tmp_path):
    """All networks of Kinetics-400's file, those of the found network and those of the papers."""
    folder = tmp_path / "clone"
    content = clone(folder, "kinetics400")
    listed = set(run(folder, "dvc", "stage", "list", "--name-only").split())
    planned = run(folder, "snakemake", "--dry-run", "--cores", "1")
    by_snakemake = set(re.findall(r"output: \.pipeline/(\S+)\.done", planned))
    papers = {f"{family}_{size}" for family in ("x3d", "autox3d") for size in "sml"}
    papers |= {f"autox3d_{size}_no_attention" for size in "sml"}

    assert papers <= content["baseline"].keys() <= content["train"].keys()
    assert listed == by_snakemake
    assert {f"{stage}@{one}" for stage in ("train", "evaluate") for one in papers} <= listed
    assert listed >= {"subset", "warmup", "search", "control", "derive", "report"}


def test_a_search_that_nothing_needs_is_refused_in_one_line(tmp_path):
    """`dvc repro` without targets ends before the search, with the command to type."""
    for name in FILES:
        content = settings.load(ROOT / f"params/{name}.yaml")
        assert not content.searches
        (tmp_path / "params.yaml").write_text((ROOT / f"params/{name}.yaml").read_text())
        words = ("-m", "autox3d.stages.subset", "--clips", "c.parquet", "--subset", "s.parquet")
        done = programs.run("data", [str(BIN / "python"), *words], tmp_path, environment(tmp_path))
        assert done.returncode != 0
        assert done.stderr.splitlines()[-1] == (
            "params.yaml: 'scale', 'studies' and 'expand.base' are empty, so nothing needs a "
            f"search. Run: dvc {' '.join(command(name))}. To search, add a size to 'scale'."
        )
    for name in ("kinetics400", "folder", "demo_expand"):
        assert settings.load(ROOT / f"params/{name}.yaml").searches, name


def kinetics(raw: Path) -> None:
    """Kinetics-400 as it comes: CSV files, and videos in folders of splits and classes."""
    rows: dict[str, list[tuple[str, str, int, int, str]]] = {"train": [], "validate": []}
    for number, (name, path) in enumerate(_videos(raw, ".mp4", corpus.H264)):
        split = "validate" if number % VIDEOS == 0 else "train"
        video, start = f"v{number:09d}_"[:11], 10 * number
        rows[split].append((name, video, start, start + 10, split))
        folder = raw / "kinetics400/videos" / split / name
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"{video}_{start:06d}_{start + 10:06d}.mp4")
    for split, found in rows.items():
        with (raw / f"kinetics400/{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("label", "youtube_id", "time_start", "time_end", "split"))
            writer.writerows(found)


def something(raw: Path) -> None:
    """Something-Something V2 as it comes: JSON lists with templates, and WebM files by number."""
    lists: dict[str, list[dict[str, str]]] = {"train": [], "validation": []}
    (raw / "somethingv2/videos").mkdir(parents=True)
    (raw / "somethingv2/labels").mkdir()
    vp8 = (
        "-c:v",
        "libvpx",
        "-pix_fmt",
        "yuv420p",
        "-b:v",
        "300k",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
    )
    for number, (name, path) in enumerate(_videos(raw, ".webm", vp8)):
        split = "validation" if number % VIDEOS == 0 else "train"
        entry = {"id": str(number + 1), "label": f"showing {name}", "template": f"Showing [{name}]"}
        lists[split].append(entry)
        path.rename(raw / f"somethingv2/videos/{number + 1}.webm")
    classes = {f"Showing {name}": str(number) for number, name in enumerate(CLASSES)}
    for name, content in {**lists, "labels": classes}.items():
        (raw / f"somethingv2/labels/{name}.json").write_text(json.dumps(content))


ACTIONS = """item {
  name: "bend/bow (at the waist)"
  id: 1
}
item {
  name: "watch (a person)"
  id: 80
}
"""
DETECTED = {
    "train": "ava_detection_train_boxes_and_labels_include_negative_v2.2.csv",
    "val": "ava_detection_val_boxes_and_labels.csv",
}


def ava(raw: Path) -> None:
    """AVA v2.2 as it comes: whole films, lists without a header, and the boxes of a detector."""
    (raw / "ava/videos").mkdir(parents=True)
    (raw / "ava/ava_action_list_v2.2_for_activitynet_2019.pbtxt").write_text(ACTIONS)
    for seed, (split, film) in enumerate({"train": "-5KQ66BBWC4", "val": "1j20qq1JyX4"}.items()):
        picture = f"life=s=96x72:r=4:seed={seed + 1}:ratio=0.4"
        path = raw / f"ava/videos/{film}.mkv"
        corpus.ffmpeg("-f", "lavfi", "-i", picture, *corpus.H264, seconds=912, to=path)
        truth, found = zip(*(_at(film, second) for second in range(902, 907)), strict=True)
        for name, rows in {
            f"ava_{split}_v2.2.csv": truth,
            f"ava_{split}_excluded_timestamps_v2.2.csv": [f"{film},0906\n"],
            DETECTED[split]: found,
        }.items():
            (raw / "ava" / name).write_text("".join(rows))


def _at(film: str, second: int) -> tuple[str, str]:
    """Rows of the annotations and of the detector; one of two people does what is not evaluated."""
    left = 0.05 * (second - 900)
    places = [(one, 0.2, one + 0.2, 0.9) for one in (left, left + 0.4)]
    begin, other = (
        f"{film},{second:04d}," + ",".join(f"{share:.3f}" for share in box) for box in places
    )
    rows = (f"{begin},1,0", f"{other},80,1", f"{other},12,1")
    near = (f"{begin},,0.99", f"{other},,0.95", f"{film},{second:04d},0.8,0.1,0.9,0.2,,0.5")
    return "".join(f"{row}\n" for row in rows), "".join(f"{row}\n" for row in near)


def _videos(raw: Path, suffix: str, codec: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Each generated video with its class, not yet in its place."""
    raw.mkdir(exist_ok=True)
    made = []
    for name, source in CLASSES.items():
        for seed in range(VIDEOS):
            path = raw / f"{len(made)}{suffix}"
            picture = f"{source}=s=96x72:r=15:seed={seed + 1}"
            corpus.ffmpeg("-f", "lavfi", "-i", picture, *codec, seconds=1, to=path)
            made.append((name, path))
    return made


def small(name: str, network: str) -> dict[str, Any]:
    """What is smaller than in the shipped file: sizes and numbers, and no name or path."""
    content = yaml.safe_load((ROOT / f"params/{name}.yaml").read_text())
    recipe = content["train"][network]
    sampling = recipe["sampling"] | {"jitter": [40, 48]}
    train = recipe | {"epochs": 2, "warmup": 1, "batch": 4, "bn_clips": 4, "bn_steps": 2}
    return {
        "transcode": {"short": 48, "preset": "ultrafast"},
        "subset": {"classes": len(CLASSES)},
        "baseline": {network: content["baseline"][network] | {"width": 0.25, "depth": 0.2}},
        "train": {network: train | {"sampling": sampling}},
        "latency": {"views": 2, "batch": 2, "repeats": 2, "warmup": 1},
    }


@pytest.mark.parametrize(
    ("name", "network", "lay_out", "views"),
    [("x3d_kinetics400", "x3d_s", kinetics, 30), ("somethingv2", "autox3d_s", something, 1)],
)
def test_a_small_copy_gets_its_page(name, network, lay_out, views, tmp_path):
    """From the official files to the page; the headline has the views that the paper has."""
    folder = tmp_path / "clone"
    content = clone(folder, name, **small(name, network))
    of = folder / content["baseline"][network]["of"]
    of.write_text(re.sub(r"(?m)^input: .*$", f"input: {CLIP}", of.read_text()))
    lay_out(folder / "raw")
    run(folder, "dvc", "repro", f"page@{network}")

    found = Evaluation.read(folder / f"results/evaluate/{network}.json")
    assert (found.videos, found.headline.views) == (len(CLASSES), views)
    assert found.crops == ("lcr" if views == 30 else "center")
    summary = json.loads((folder / f"results/summary/{network}.json").read_text())
    assert summary["top1"] == found.headline.metrics["top1"]
    page = (folder / f"results/pages/{network}.html").read_text()
    assert f"<title>{content['pages'][network]['title']}</title>" in page
    assert f"{len(CLASSES)} val videos, {views} views each" in page
    left = {path.name for path in folder.glob("results/*")} | {
        p.name for p in folder.glob("data/*")
    }
    assert not left & {"search", "control", "derive", "warmup.csv", "supernet", "subset.parquet"}


def test_a_small_copy_of_ava_gets_its_page(tmp_path):
    """From whole films, official lists and weights of another list of classes to the page."""
    folder, network = tmp_path / "clone", "x3d_m"
    shrunk = small("ava", network)
    content = clone(folder, "ava", **shrunk)
    of = folder / content["baseline"][network]["of"]
    of.write_text(re.sub(r"(?m)^input: .*$", f"input: {CLIP}", of.read_text()))
    ava(folder / "raw")
    run(folder, "dvc", "repro", f"baseline@{network}")
    genotype = Genotype.load(folder / f"results/genotypes/{network}.yaml")
    net = VideoNet(genotype, 3)
    weights.save(folder / f"published/{network}", net, genotype, ["a", "b", "c"], {})
    run(folder, "dvc", "repro", f"page@{network}")

    found = Evaluation.read(folder / f"results/evaluate/{network}.json")
    counts = found.headline.metrics
    assert (found.task, found.videos, found.headline.views) == ("detect", 4, 1)
    assert (counts["truth"], counts["proposals"], counts["reach"]) == (8, 8, 1)
    assert list(found.per_class) == ["bend/bow (at the waist)", "watch (a person)"]
    page = (folder / f"results/pages/{network}.html").read_text()
    assert (
        "8 boxes asked about and 8 annotated ones, of 2 classes, at 4 moments of val films, a view "
        "each."
    ) in page


def test_a_small_copy_of_the_demo_of_boxes_is_the_same_under_both_engines(tmp_path):
    """Snakemake makes the page, and DVC has nothing left to do."""
    folder, network = tmp_path / "clone", "x3d"
    shrunk = small("demo_boxes", network)
    shrunk["train"][network]["sampling"]["jitter"] = [96, 104]
    content = clone(folder, "demo_boxes", **shrunk)
    content["annotate"]["demo"] |= {"train": 3, "val": 1, "test": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    (folder / "raw").mkdir()
    run(folder, "snakemake", "--cores", "1", f".pipeline/page@{network}.done")

    found = Evaluation.read(folder / f"results/evaluate/{network}.json")
    counts = found.headline.metrics
    assert (found.videos, counts["truth"], counts["proposals"]) == (12, 36, 48)
    assert "at 12 moments of test films" in (folder / f"results/pages/{network}.html").read_text()
    assert "didn't change, skipping" in (told := run(folder, "dvc", "repro", f"page@{network}"))
    assert "Running stage" not in told
