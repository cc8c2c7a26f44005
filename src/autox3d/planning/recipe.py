"""Settings for a user's videos, from what the videos and the device are like.

Few rules, each with its reason in a line: the clip covers what a video of median length shows, at
most as long as X3D's; a network, size and batch that the device trains in the time there is; and as
many epochs as fit into that time, up to a number of steps after which few videos teach nothing new.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from autox3d.core import schema, settings
from autox3d.core.device_table import Rates
from autox3d.core.errors import Refused
from autox3d.core.settings import Params
from autox3d.planning.own_videos import Looks
from autox3d.planning.plan import BACKWARD, StageCost, Videos
from autox3d.search.costs import SpaceCosts
from autox3d.search.space import Space
from autox3d.sizing.scaling import baseline, clip_of
from autox3d.training.run import SCRATCH
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.order import epoch_shape

FPS = 30  # of transcoded clips
SPAN = 2.6  # s that a clip of X3D covers: 13 frames, 6 apart
COVERED = 0.8  # of a shorter video
JITTER = 1.15  # longest shorter side in training, in test sides
SHARD = 250  # videos; a shard is a job of its own
CHUNK = 8  # clips that share batch-norm statistics, and all that a step holds at once
START = 6.0  # s that a stage takes to start and to end, about
STAGES = 8  # stages of a page, apart from the shards
EPOCHS = 60  # that a training may have in any case
SIDES = re.compile(r"(^|[^a-z])(left|right|links|rechts|gauche|droite)([^a-z]|$)")
Changes = dict[str, Any]


class Device(NamedTuple):
    """What trains."""

    name: str
    gpu: bool
    cores: int

    @property
    def minutes(self) -> float:
        """That a first training may take, where nobody says."""
        return 60.0 if self.gpu else 6.0

    @property
    def search_minutes(self) -> float:
        """That a first search with its trainings may take."""
        return 600.0 if self.gpu else 40.0

    @property
    def steps(self) -> int:
        """The most steps of a training."""
        return 30_000 if self.gpu else 1_000

    @property
    def clip(self) -> tuple[int, int, int]:
        """Frames, crop and test side in px of its clips."""
        return (13, 160, 182) if self.gpu else (8, 64, 72)

    @property
    def boxed_clip(self) -> tuple[int, int, int]:
        """The same where boxes are asked about, which must cover several cells."""
        return (16, 224, 256) if self.gpu else (8, 84, 96)


class Asked(NamedTuple):
    """What the user asks for."""

    root: Path  # of the videos' paths: annotate.videos and the list are relative to it
    videos: str
    listing: str
    classes: Sequence[str]
    split: str  # that is tested
    budget: float | None  # G multiply-adds, of a search
    minutes: float | None
    given: Path | None  # folder of weights to start from
    network: str  # name of the network that needs no search
    several: bool = False  # whether a video may have several labels, or none
    boxed: bool = False  # whether boxes at moments of films have the labels
    action: float | None = None  # s that three of four labels hold, or longer; None: all along


def drafted(
    base: Mapping[str, Any], asked: Asked, looks: Looks, device: Device, counts: Videos
) -> tuple[Changes, list[str]]:
    """Settings apart from the epochs, and why they are as they are.

    Args:
        base: complete settings, of a folder of videos
    """
    content, why = deepcopy(dict(base)), []
    size, line = _clip(asked, looks, device)
    why.append(line)
    short, side = size["short"], even(JITTER * size["short"])
    shards = max(1, ceil(counts.total / SHARD))
    content["annotate"] |= {
        "dataset": "boxes" if asked.boxed else "csv",
        "videos": asked.videos,
        "files": {"list": asked.listing},
        "shards": list(range(shards)),
    }
    content["transcode"] |= {
        "short": side,
        "max_seconds": float(max(3600, ceil(1.5 * looks.longest))),
        "timeout": float(max(300, ceil(30 * looks.longest))),
    }
    why.append(f"{shards} shard{'s' * (shards > 1)}; stored with a shorter side of {side} px")
    flip = not any(SIDES.search(name.lower()) for name in asked.classes)
    why += [] if flip else ["no flips: classes differ in left and right by their names"]
    sampling = {"jitter": [short, side], "flip": flip, "autoaugment": device.gpu}
    content["scale"] = {"s": {**size, "depth": 1.0}}
    content["baseline"] = {asked.network: _network(asked, device)}
    recipe = _recipe(content["train"]["s"], device, counts, asked)
    recipe["sampling"] = recipe["sampling"] | sampling
    found = {"s": recipe | {"init": SCRATCH}} if asked.budget else {}
    content["train"] = found | {asked.network: recipe}
    why.append(f"batches of {min(recipe['batch'], counts.train)} clips")
    content["pages"] = {asked.network: {"title": f"{asked.network} on {asked.root.name}"}}
    networks = [asked.network, "s"] if asked.budget else [asked.network]
    content["explain"] |= {"networks": networks}
    content["evaluate"] |= {"split": asked.split, "pool": "max" if asked.several else "mean"}
    _ask_boxes(content, asked, device)
    why += ["several labels a video: each class gets a score of its own"] * asked.several
    if not device.gpu:
        views = [1, 3, 5, 10] if asked.action else [1, 3, 5]  # an action may be in one of ten
        content["evaluate"] |= {} if asked.boxed else {"clips": views}
        content["latency"] |= {"batch": 6, "repeats": 10, "warmup": 2}
    _search(content, asked, device, counts, sampling)
    return content, why


def _ask_boxes(content: Changes, asked: Asked, device: Device) -> None:
    """What is otherwise where boxes have the labels; nothing where videos have them."""
    if asked.boxed:
        content["evaluate"] |= {"clips": [1], "crops": 1, "sampling": "stride", "pool": "mean"}
        recipe = content["train"][asked.network]
        recipe["sampling"] = recipe["sampling"] | {"rule": "stride"}


def _clip(asked: Asked, looks: Looks, device: Device) -> tuple[Changes, str]:
    """The size of a clip: that of given weights, of the space, or of the device."""
    if asked.given:
        spec = Genotype.load(asked.given / "genotype.yaml").input
        size = {"frames": spec.frames, "crop": spec.crop, "short": spec.short}
    elif asked.budget:
        spec = Space.load(space_of(asked.budget, len(asked.classes), device)).input
        size = {"frames": spec.frames, "crop": spec.crop, "short": spec.short}
    else:
        frames, crop, short = device.boxed_clip if asked.boxed else device.clip
        size = {"frames": frames, "crop": crop, "short": short}
    span = min(SPAN, COVERED * looks.seconds)
    stride = max(1, int(span * FPS / size["frames"] + 1e-6))
    why = ""
    if asked.action and stride > (most := max(1, round(asked.action * FPS / size["frames"]))):
        stride, why = most, f" (a quarter of the labels hold for {asked.action:.1f} s or less)"
    length = size["frames"] * stride / FPS
    line = (
        f"clips of {size['frames']} frames, {stride / FPS:.2f} s apart, so {length:.1f} s of "
        f"videos of {looks.seconds:.1f} s{why}; {size['crop']} px"
    )
    return {"frames": size["frames"], "stride": stride, **size}, line


def _network(asked: Asked, device: Device) -> Changes:
    """The entry of `baseline`: given weights, X3D-S on a GPU, or a third of it on a CPU.

    Where boxes are asked about it is X3D-M, or a third of one with small cells.
    """
    usual = ("x3d_m" if device.gpu else "x3d_s_stride8") if asked.boxed else "x3d_s"
    of = asked.given / "genotype.yaml" if asked.given else Path(f"architectures/{usual}.yaml")
    small = not asked.given and not device.gpu
    width, depth = (0.33, 0.34) if small else (1.0, 1.0)
    rule = {"of": str(of), "input": "s", "width": width, "depth": depth}
    return rule | {"temporal": True, "attention": True}


def _recipe(usual: Changes, device: Device, counts: Videos, asked: Asked) -> Changes:
    """An entry of `train` without its epochs."""
    batch = 64 if device.gpu else CHUNK
    while batch > CHUNK and counts.train // batch < 10:  # steps of an epoch
        batch //= 2
    rate = 0.4 if batch > 16 else 1.6  # for 256 clips; as in params/folder.yaml and the demo
    dropout = 0.5 if device.gpu else 0.0
    recipe = deepcopy(usual) | {"batch": batch, "lr": rate, "dropout": dropout}
    if asked.given:
        recipe |= {"lr": rate / 4, "branch_gamma": 1.0}
    elif not device.gpu:
        recipe |= {"branch_gamma": 1.0}
        if asked.several or asked.boxed:
            recipe["lr"] = 4 * rate  # the loss is the mean over classes
    return recipe | {"init": str(asked.given or SCRATCH)}


def space_of(budget: float, classes: int, device: Device) -> Path:
    """The space whose networks can keep the budget; on a CPU the small one comes first.

    Raises:
        Refused: there is none.
    """
    names = ("space_autox3d", "space_demo") if device.gpu else ("space_demo", "space_autox3d")
    paths = [Path(f"architectures/{name}.yaml") for name in names]
    for path in paths:
        costs = SpaceCosts(Space.load(path), classes)
        if costs.cheapest <= budget <= costs.dearest:
            return path
    small, large = (SpaceCosts(Space.load(path), classes) for path in sorted(paths, reverse=True))
    raise Refused(
        f"--budget {budget:g}: the networks of the spaces cost {small.cheapest:.2g} to "
        f"{small.dearest:.2g} or {large.cheapest:.2g} to {large.dearest:.2g} G multiply-adds. "
        "Choose a number between these."
    )


def _search(
    content: Changes, asked: Asked, device: Device, counts: Videos, sampling: Changes
) -> None:
    """The sections of the search; its epochs are added later."""
    classes = len(asked.classes)
    content["subset"] |= {"classes": None, "train": max(1, counts.train), "val": max(1, counts.val)}
    usual = Path(f"architectures/space_{'autox3d' if device.gpu else 'demo'}.yaml")
    path = space_of(asked.budget, classes, device) if asked.budget else usual
    costs = SpaceCosts(Space.load(path), classes)
    middle = float(f"{(costs.cheapest * costs.dearest) ** 0.5:.3g}")
    supernet = content["supernet"]
    short = Space.load(path).input.short
    sides = {"jitter": [short, even(JITTER * short)]}
    supernet |= {"space": str(path), "sampling": supernet["sampling"] | sampling | sides}
    content["search"] |= {"target": asked.budget or middle}
    if not device.gpu:
        supernet |= {"batch": CHUNK, "lr": 1.6, "dropout": 0.0, "branch_gamma": 1.0}
        content["search"] |= {"draws": 2, "alpha_draws": 6, "alpha_eps": 0.1}
        content["derive"] |= {"runners_up": 4, "calibration": 64}


def with_epochs(
    content: Changes, asked: Asked, device: Device, counts: Videos, rates: Rates
) -> list[str]:
    """Puts epochs into the settings that fit into the minutes; returns why, in lines."""
    searching = asked.budget is not None
    usual = device.search_minutes if searching else device.minutes
    seconds = 60 * (asked.minutes or usual)
    fixed = START * (STAGES + len(content["annotate"]["shards"]) + 8 * searching)
    fixed += counts.total * counts.seconds / rates.transcode / device.cores
    left = max(0.2 * seconds, seconds - fixed)
    params = checked(content)
    each = _epoch_seconds(genotype_of(params, asked), params, counts, rates, device)
    steps = epoch_shape(counts.train, params.train[asked.network].batch)[0]
    share = 0.2 if searching else 0.7  # the rest is for testing, and for surprises
    most = device.steps // (3 if asked.given else 1)  # trained weights need less
    epochs = max(1, min(int(share * left / each), max(most // steps, EPOCHS)))
    for recipe in content["train"].values():
        recipe |= {"epochs": epochs, "warmup": min(epochs // 4, max(1, epochs // 8))}
        recipe["bn_steps"] = min(64, 8 * steps)
    given = f"{asked.minutes:g} minutes asked for" if asked.minutes else f"a {_kind(device)}"
    lines = [f"{epochs} epochs of {steps} step{'s' * (steps != 1)}, for {given}"]
    supernet = epoch_shape(max(1, counts.train // 2), content["supernet"]["batch"])[0]
    phase = max(1, min(int(0.2 * left / (2.5 * each)), device.steps // supernet))
    content["warmup"] |= {"epochs": 2 * phase}
    content["search"] |= {"epochs": phase}
    content["control"] |= {"epochs": phase}
    if searching:
        lines.append(f"{2 * phase} epochs of warm-up, {phase} of search, {phase} of its control")
    return lines


def _kind(device: Device) -> str:
    return "GPU" if device.gpu else "CPU"


def checked(content: Changes) -> Params:
    """The settings as the stages will read them."""
    epochs = {"epochs": 1, "warmup": 0}
    train = {name: recipe | epochs for name, recipe in content["train"].items()}
    return schema.check(content | {"train": train}, Params, settings.PARAMS)


def genotype_of(params: Params, asked: Asked) -> Genotype:
    """The network of the page, made as stage `baseline` makes it."""
    rule = params.baseline[asked.network]
    given = Genotype.load(Path(rule.of))
    return baseline(given, asked.network, clip_of(given, rule, params.scale), rule)


def _epoch_seconds(
    genotype: Genotype, params: Params, counts: Videos, rates: Rates, device: Device
) -> float:
    """Seconds of an epoch with its validation; the cores decode beside a GPU, not beside a CPU."""
    gmacs = cost(genotype, counts.classes).gmacs
    steps, batch = epoch_shape(counts.train, params.train[genotype.name].batch)
    compute = gmacs * ((1 + BACKWARD) * steps * batch / rates.train + counts.val / rates.forward)
    decode = (steps * batch + counts.val) / rates.clips / device.cores
    return max(compute, decode) if device.gpu else compute + decode


def took(costs: Sequence[StageCost], stages: set[str], rates: Rates, device: Device) -> float:
    """Minutes of the stages that are named, with the time that each takes to start."""
    chosen = [one for one in costs if one.stage in stages]
    work = sum(one.device_hours(rates) + one.core_hours(rates) / device.cores for one in chosen)
    return 60 * work + START * (STAGES + len(chosen)) / 60


def written(content: Changes) -> str:
    """The settings as YAML; without aliases, which params.yaml must not have."""
    return schema.dump(json.loads(json.dumps(content)))


def even(side: float) -> int:
    """The next even number of px: H.264 has no odd ones."""
    return 2 * ceil(side / 2)
