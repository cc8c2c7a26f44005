"""A results folder as the stages leave it, small and invented, for the report's tests."""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from autox3d.core.records import Provenance
from autox3d.core.scores import Metrics
from autox3d.core.search_records import StudyProvenance, StudyRecord, StudyRow
from autox3d.core.values import ClipSpec
from autox3d.explaining.sheet import jpeg
from autox3d.vision.arch.blocks import BlockStyle, Group
from autox3d.vision.arch.genotype import Attention, Genotype, Head, Stem
from support.spaces import SPACE

CLASSES = ("pan_left", "pan_right", "pan_up", "pan_down")
CLASSES += ("roll_clockwise", "roll_counterclockwise", "zoom_in", "zoom_out")
NETWORKS = {"s": 0.96, "m": 0.97, "l": 0.98, "x3d_s": 0.9, "s_t1": 0.19}
FOLDERS = ("search", "control", "derive", "genotypes", "train", "evaluate", "latency", "explain")
KERNELS = ["t1_s3", "t1_s5", "t3_s3", "t3_s5", "t5_s3", "t5_s5"]
SETTINGS = """\
annotate: {dataset: demo}
supernet: {space: space.yaml, selection: fair}
search: {target: 0.012}
scale: {s: {frames: 8}, m: {frames: 8}, l: {frames: 8}}
baseline: {x3d_s: {width: 0.5}, s_t1: {width: 1.0}}
train: {s: {lr: 1.6}, m: {lr: 1.6}, l: {lr: 1.6}, x3d_s: {lr: 1.6}, s_t1: {lr: 1.6}}
explain: {networks: [s, x3d_s]}
"""
MADE = Provenance(commit="c", device="d", processes=2, hours=0.5, torch="2", python="3")


def make(root: Path, classes: Sequence[str] = CLASSES) -> None:
    """params.yaml and results/ under `root`."""
    results = root / "results"
    for folder in FOLDERS:
        (results / folder).mkdir(parents=True)
    (root / "params.yaml").write_text(SETTINGS)
    (root / "space.yaml").write_text(SPACE)
    random = np.random.default_rng(1)
    _data(results, classes)
    _traces(results, random)
    _alpha(results)
    _derive(results)
    genotype().save(results / "derive/genotype.yaml")
    for name, top1 in NETWORKS.items():
        genotype(name).save(results / f"genotypes/{name}.yaml")
        _train(results, name, top1, random)
        _evaluate(results, name, top1, classes, random)
        _latency(results, name)
    _explain(results, classes)


def genotype(name: str = "autox3d_demo") -> Genotype:
    rows: list[Any] = [("t3_s3", 2.25, 16, 1, 2, "none"), ("t1_s5", 1.5, 24, 2, 2, "none")]
    rows += [("t5_s3", 3.0, 48, 2, 2, "glore"), ("t1_s3", 2.25, 48, 2, 1, "none")]
    return Genotype(
        name=name,
        input=ClipSpec(frames=8, stride=4, crop=48, short=56),
        stem=Stem(channels=8, temporal_kernel=1),
        expansion_of="in",
        block=BlockStyle(first="relu", second="swish", depthwise=True),
        attention=Attention(placement="after_group", nodes=0.25),
        groups=tuple(
            Group(
                kernel=kernel,
                expansion=expansion,
                channels=channels,
                blocks=blocks,
                stride=stride,
                squeeze_excite="even",
                attention=attention,
            )
            for kernel, expansion, channels, blocks, stride, attention in rows
        ),
        head=Head(channels=96, hidden=128),
    )


def random_networks(
    root: Path, values: Sequence[float], hours: float, searched: float = 0.9
) -> StudyRecord:
    """Adds a study of random networks, each trained for `hours` on two devices, and its entry."""
    folder, kind = root / "results/studies", "random_networks"
    folder.mkdir(exist_ok=True)
    with (root / "params.yaml").open("a") as settings:
        settings.write(f"studies: {{{kind}: {{kind: {kind}}}}}\n")
    names = ["searched", *(f"random_{number}" for number in range(1, len(values) + 1))]
    taus: Metrics = {"kendall_tau": 0.1, "kendall_tau_low": -0.2, "kendall_tau_high": 0.4}
    numbers: list[Metrics] = [
        {"gmacs": 0.011, "top1": value, "supernet_top1": 0.5} for value in (searched, *values)
    ]
    record = StudyRecord(
        study=kind,
        kind=kind,
        space="demo",
        task="classify",
        asked={},
        numbers=taus | {"beaten": 2.0},
        rows=tuple(
            StudyRow(name=name, numbers=row, series={})
            for name, row in zip(names, numbers, strict=True)
        ),
    )
    record.write(folder / f"{kind}.json")
    runs = {f"train_{name}": replace(MADE, hours=hours) for name in names}
    runs["search"] = replace(MADE, hours=99.0)
    StudyProvenance(runs=runs).write(folder / f"{kind}_made.json")
    return record


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2))


def _counts(listed: int, missing: int = 0, refused: int = 0) -> dict[str, int]:
    usable = listed - missing - refused
    return {"listed": listed, "usable": usable, "missing": missing, "refused": refused}


def _data(results: Path, classes: Sequence[str]) -> None:
    refused = [
        {"key": f"v{i}", "path": f"{name}/v{i}.mp4", "reason": reason, "message": message}
        for i, (name, reason, message) in enumerate(
            [
                (classes[0], "truncated", "31 of 90 frames decode"),
                (classes[1], "empty", "the file has no bytes"),
                (classes[2], "not_a_video", "no known container"),
            ]
        )
    ]
    found = _counts(736, missing=1, refused=3) | {
        "classes": len(classes),
        "encoders": ["n9.0.2"],
        "refused_by_reason": {"empty": 1, "not_a_video": 1, "truncated": 1},
        "by_split": {
            "test": _counts(128, refused=1),
            "train": _counts(512, missing=1, refused=2),
            "val": _counts(96),
        },
        "by_class": [
            {"class": name} | _counts(92, refused=int(i < 3)) for i, name in enumerate(classes)
        ],
        "refused_videos": refused,
    }
    write_json(results / "data.json", found)


def _traces(results: Path, random: np.random.Generator) -> None:
    """Those of the warm-up, the search and its control."""
    epochs = np.arange(1, 25)
    warmup = pd.DataFrame({"epoch": epochs[:8], "loss": 2.1 * np.exp(-epochs[:8] / 20)})
    warmup.to_csv(results / "warmup.csv", index=False)
    fade = np.exp(-epochs / 6)
    trace = pd.DataFrame(
        {
            "epoch": epochs + 8,
            "phase": "search",
            "loss": 1.5 * np.exp(-epochs / 15) + random.normal(0, 0.02, 24),
            "alpha_loss": 1.6 * np.exp(-epochs / 18) + random.normal(0, 0.02, 24),
            "entropy": fade,
            "effective_draws": 13 - 4 * (1 - fade),
            "over_target": 0.6 * fade + 0.2,
            "expected_gmacs": 0.012 + 0.006 * fade,
            "mode_gmacs": 0.012 + 0.004 * fade + random.normal(0, 0.0004, 24),
            "budget": 1 + 0.5 * fade,
            "multiplier": 0.1 * (1 - fade),
            "noise": 0.02 + 0.001 * fade,
            "spread": 0.3 + 0.2 * fade,
        }
    )
    trace.to_csv(results / "search/trace.csv", index=False)
    trace["entropy"] = 0.4 + 0.6 * fade
    trace.to_csv(results / "control/trace.csv", index=False)


def _alpha(results: Path) -> None:
    """Probabilities of every choice, the same of the search and of its control."""
    choices = []
    for group, taken in enumerate([2, 1, 4, 0], 1):
        columns = {"kernel": (KERNELS, taken), "expansion": ([1.5, 2.25, 3.0], 1)}
        columns |= {"channels": ([16, 24, 32], 2), "attention": (["none", "glore"], 0)}
        for column, (candidates, best) in columns.items():
            history = [_softmax(len(candidates), best, epoch * group / 20) for epoch in range(24)]
            choice = {"group": group, "column": column, "candidates": candidates}
            choice["logits"] = [float(number == best) for number in range(len(candidates))]
            count = len(candidates)
            choice |= {"clips": choice["logits"], "budget": [0.0] * count}
            choice["products"] = [[0.1 * (i == j) for i in range(count)] for j in range(count)]
            choice["null"] = 2.24
            choices.append(choice | {"probabilities": history})
    alpha = {"space": "demo", "choices": choices}
    write_json(results / "search/alpha.json", alpha)
    write_json(results / "control/alpha.json", alpha)


def _derive(results: Path) -> None:
    """Three networks of one size, one that is dearer, and what decided."""
    rows = ["t3_s3 3 16 none", "t1_s5 1.5 24 none", "t3_s3 3 48 glore", "t1_s3 2 48 none"]
    network = {"gmacs": 0.0118, "probability": 0.2, "supernet_top1": 0.5, "groups": rows}
    derived: dict[str, Any] = {"space": "demo", "networks": "1e+06", "target_gmacs": 0.012}
    derived |= {"window": [0.0108, 0.012]}
    decided = [
        {"group": 1, "column": "kernel", "taken": "t3_s3", "by": "clips", "t": 6.5}
        | {"probabilities": {"t1_s3": 0.03, "t3_s3": 0.97}},
        {"group": 1, "column": "channels", "taken": 24, "by": "budget", "t": 0.8}
        | {"probabilities": {"16": 0.25, "24": 0.75}},
        {"group": 2, "column": "channels", "taken": 32, "by": "undecided", "t": 2.1}
        | {"probabilities": {"16": 0.01, "32": 0.99}},
        {"group": 2, "column": "attention", "taken": "none", "by": "undecided", "t": 0.0}
        | {"probabilities": {"none": 1.0}},
    ]
    derived |= {"threshold": 2.9, "control_decided": 0}
    dearer = network | {"gmacs": 0.0141, "probability": 0.3}
    dearer |= {"groups": ["t3_s3 3 32 none", *rows[1:]], "supernet_top1": 0.55}
    derived["mode"] = {"network": dearer, "attention_nats": 0.0, "window_nats": 0.41}
    derived["mode"] |= {"gain": [-0.012, -0.031, 0.007]}
    derived["front"] = [{"budget": 0.015, "network": dearer}]
    derived |= {"found": network | {"choices": decided}, "runners_up": [network, network]}
    write_json(results / "derive/derive.json", derived)


def _softmax(count: int, best: int, logit: float) -> list[float]:
    weights = [math.exp(logit) if i == best else 1.0 for i in range(count)]
    return [weight / sum(weights) for weight in weights]


def _train(results: Path, name: str, top1: float, random: np.random.Generator) -> None:
    epochs = np.arange(1, 25)
    rise = 1 - np.exp(-epochs / 6)
    curve = pd.DataFrame({"epoch": epochs, "lr": 0.05 * np.cos(epochs / 16)})
    curve["loss"] = 2.08 * (1 - top1 * rise) + random.normal(0, 0.02, 24)
    curve["top1"] = (0.125 + (top1 - 0.125) * rise + random.normal(0, 0.01, 24)).clip(0, 1)
    curve["val_top1"] = (curve["top1"] - 0.03).clip(0, 1)
    curve.to_csv(results / f"train/{name}.csv", index=False)
    made = {"commit": "60d6fd0a1b", "device": "x86_64 CPU, threads: 2", "processes": 1}
    made |= {"hours": 0.021, "torch": "2.13.0", "python": "3.11.2", "seed": 1}
    write_json(results / f"train/{name}_made.json", made)
    units = [
        {"group": group, "unit": "glore", "gain": gain, "error": 0.01, "t": 100 * gain}
        for group, gain in ((1, 0.04), (3, -0.004))
    ]
    attention = {"chunks": 30, "clips_a_chunk": 8, "units": units}
    write_json(results / "warmup_made.json", made | {"attention": attention})
    write_json(results / "search/search_made.json", made)
    write_json(results / "control/control_made.json", made)


def _evaluate(
    results: Path, name: str, top1: float, classes: Sequence[str], random: np.random.Generator
) -> None:
    actual = np.repeat(np.array(classes), 16)
    wrong = random.random(len(actual)) > top1
    predicted = np.where(wrong, random.choice(np.array(classes), len(actual)), actual)
    table = pd.DataFrame({"actual": actual, "predicted": predicted})
    table.to_csv(results / f"evaluate/{name}_confusion.csv", index=False)
    hits = pd.Series(actual == predicted).groupby(actual).mean()
    share = float((actual == predicted).mean())
    size = 1 + list(NETWORKS).index(name)
    rows = [
        {"clips": k, "crops": crops, "views": k * times, **_top(share - 0.03 / k)}
        for crops, times in (("center", 1), ("lcr", 3))
        for k in (1, 3, 5, 7, 10)
    ]
    found = {"k_clips": rows, "center": {"views": 10, **_top(share)}}
    found |= {"lcr": {"views": 30, **_top(share)}, "net": name, "split": "test", "rule": "ends"}
    found |= {"videos": len(actual), "labelled": len(actual), "params": 41_328 * size}
    found |= {"gmacs_center": 0.0089 * size, "gmacs_lcr": 0.0118 * size}
    found["per_class"] = [{"class": label, "top1": float(hits[label])} for label in classes]
    write_json(results / f"evaluate/{name}.json", found)


def _top(top1: float) -> dict[str, float]:
    top5 = min(1.0, top1 + 0.3)
    return {"top1": top1, "top5": top5, "mean": (top1 + top5) / 2}


def _latency(results: Path, name: str) -> None:
    median = 0.05 * (1 + list(NETWORKS).index(name))
    spread = {"median": median, "low": 0.9 * median, "high": 1.2 * median}
    found = {"commit": "60d6fd0a1b", "device": "x86_64 CPU, threads: 2", "processes": 1}
    found |= {"hours": 0.0005, "torch": "2.13.0", "python": "3.11.2"}
    found |= {"net": name, "views": 30, "frames": 8, "side": 56, "dtype": "float32", "repeats": 10}
    found |= {"batched": spread, "one_by_one": spread, "peak_mb": 379.9}
    write_json(results / f"latency/{name}.json", found)


def _explain(results: Path, classes: Sequence[str]) -> None:
    """Two right answers, a mistake of `s`, and its two worst ones."""
    right = [_clip(f"test-{name}-0001", name, name) for name in classes[:2]]
    wrong = _clip(f"test-{classes[0]}-0002", classes[0], classes[2])
    pair = {"actual": classes[0], "predicted": classes[2], "videos": 3, "of": 16}
    pair["clips"] = [wrong, _clip(f"test-{classes[2]}-0004", classes[2], classes[2])]
    found = {"net": "s", "split": "test", "right": right, "confused": [pair]}
    kept = ("key", "actual", "predicted", "score", "picture")
    found["wrong"] = [{key: wrong[key] for key in kept} | {"loss": loss} for loss in (4.25, 1.5)]
    write_json(results / "explain/s.json", found)


def _clip(key: str, actual: str, predicted: str) -> dict[str, Any]:
    pixels = np.linspace(0, 255, 112 * 454 * 3).astype(np.uint8).reshape(112, 454, 3)
    return {
        "key": key,
        "actual": actual,
        "predicted": predicted,
        "score": 0.75,
        "lit": list(dict.fromkeys([predicted, actual])),
        "by_frame": [0.1, 0.2, 0.3, 0.4],
        "shown": [0, 1, 2, 3],
        "picture": base64.b64encode(jpeg(pixels)).decode(),
    }
