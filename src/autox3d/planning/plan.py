"""Estimates the cost of a pipeline from its settings and measured rates, before any of it runs.

The work of a stage is the multiply-adds of its networks times clips times epochs, as the stages
count them; a backward pass counts as two forward passes. The network that a search will find is
not known yet, so one within the budget's window takes its place. For the networks that a search
trains, the mean of uniform samples is used (a search ends nearer to the target).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from autox3d.core.device_table import Rates
from autox3d.core.overrides import for_part
from autox3d.core.settings import Params
from autox3d.core.values import ClipSpec
from autox3d.datasets.annotations import DEMO_BOXES
from autox3d.search.costs import SpaceCosts, of_budget
from autox3d.search.derive import in_window
from autox3d.search.parts import opened
from autox3d.search.ranking import CLIPS
from autox3d.search.space import Space
from autox3d.sizing.scaling import baseline, clip_of, scaled
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.order import epoch_shape
from autox3d.vision.clips.views import Crops, crop_sides, test_size, union_places

BACKWARD = 2  # forward passes that a backward pass costs
DERIVED = Path("results/derive")  # genotypes of stage `derive`
WINDOW = (0.9, 1.0)  # shares of the budget, where `derive.window` gives none
SOURCE_RATE = 30  # frames a second, of which a clip takes every `stride`-th
FLOAT_BYTES = 4  # of a weight, a momentum or a score
BOXED = "ava", "boxes", DEMO_BOXES  # data sets whose labels are those of boxes in films
CHECKPOINTS = 4  # kept by a run: the last three and the best


Found = dict[Path, Genotype]  # networks in place of those that stage `derive` will write


class Videos(NamedTuple):
    """The size of a data set: videos of each split, classes, length."""

    train: int
    val: int
    test: int
    classes: int
    seconds: float  # mean length of a video

    @property
    def total(self) -> int:
        """The videos of all splits together."""
        return self.train + self.val + self.test


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """The work of one stage, or of one item of a stage."""

    stage: str
    trained: float = 0.0  # 1e9 multiply-adds of training steps, both passes
    forward: float = 0.0  # 1e9 multiply-adds of forward passes alone
    clips: float = 0.0  # clips decoded
    seconds: float = 0.0  # s of video to transcode
    gigabytes: float = 0.0  # GB that stay on the disk
    files: int = 0  # files that stay on the disk
    span: float = 0.0  # s of video that a clip is cut from

    def device_hours(self, rates: Rates) -> float:
        """Hours on one GPU, or on the device that the rates were measured on."""
        return (self.trained / rates.train + self.forward / rates.forward) / 3600

    def core_hours(self, rates: Rates) -> float:
        """Hours of one core for transcoding, or for decoding."""
        return (self.seconds / rates.transcode + self.clips / rates.clips) / 3600

    def disk_hours(self, rates: Rates) -> float:
        """Hours of the disk: what is kept, and the clips as they are read; raw videos not."""
        read = self.clips * self.span * rates.megabytes
        return (1e3 * self.gigabytes + read) / rates.disk / 3600

    def limit(self, rates: Rates) -> str:
        """What takes longest: one `device`, all `cores` of its machine, or the `disk`."""
        hours = {
            "device": self.device_hours(rates),
            "cores": self.core_hours(rates) / rates.cores,
            "disk": self.disk_hours(rates),
        }
        return max(hours, key=lambda name: hours[name])


def stage_costs(params: Params, videos: Videos, rates: Rates) -> list[StageCost]:
    """The cost of every stage that takes more than minutes, in pipeline order.

    Raises:
        Refused: a file that the settings name is missing or invalid.
    """
    seconds = videos.total * videos.seconds
    shards = len(params.annotate.shards)
    transcode = StageCost(
        stage="transcode",
        seconds=seconds,
        gigabytes=seconds * rates.megabytes / 1e3,
        files=2 * shards,
    )
    if not params.searches:
        return [transcode, *_networks(params, videos, {})]
    found: Found = {}
    costs = [transcode]
    for name, own, space in searches(params, searched(params, videos)):
        found = networks_of(own, space, searched(params, videos))
        costs += _search(own, videos, space, found, name)
    return [*costs, *_networks(params, videos, found)]


def searches(params: Params, classes: int) -> Iterator[tuple[str, Params, Space]]:
    """The search, or its parts: the name of those before the last, settings, and the space.

    Raises:
        Refused: a file is missing or invalid, or a part has no network within its budget.
    """
    if not params.parts.open:
        yield "", params, Space.load(Path(params.supernet.space))
        return
    assert params.parts.space, "checked with the settings"
    whole, found = Space.load(Path(params.parts.space)), None
    for name, part in params.parts.open.items():
        last = name not in params.parts.before
        own, space = params if last else for_part(params, name), opened(whole, name, part, found)
        yield "" if last else name, own, space
        found = networks_of(own, space, classes)[DERIVED / "genotype.yaml"]


def searched(params: Params, videos: Videos) -> int:
    """The number of classes of the search's subset."""
    return min(params.subset.classes or videos.classes, videos.classes)


def networks_of(params: Params, space: Space, classes: int) -> Found:
    """Networks of the space in place of those that stage `derive` will write, by its files.

    Of all in the window of a budget, which are equally probable before the search, one is taken.

    Raises:
        Refused: no network keeps a budget.
    """
    search, derive = params.search, params.derive
    equal = [[0.0] * len(choice.candidates) for choice in space.choices]
    costs = of_budget(space, classes, search)
    rule = derive if derive.window else replace(derive, window=WINDOW)
    budgets = {DERIVED / f"front/{budget:g}.yaml": budget for budget in derive.budgets}
    budgets |= {DERIVED / "genotype.yaml": search.target}
    draws = {
        path: in_window(equal, costs, budget, rule, "search.target")
        for path, budget in budgets.items()
    }
    return {path: space.genotype(draw, "found") for path, draw in draws.items()}


def upscaled(params: Params, videos: Videos) -> dict[str, int]:
    """The networks that train or test on enlarged video, with the longest shorter side, px.

    `search` stands for the supernet.
    """
    found: Found = {}
    sides: dict[str, int] = {}
    if params.searches:
        for _, own, space in searches(params, searched(params, videos)):
            found = networks_of(own, space, searched(params, videos))
            side = own.supernet.sampling.jitter[1]
            sides["search"] = max(side, sides.get("search", 0))
    for name, genotype in genotypes(params, found).items():
        sides[name] = max(params.train[name].sampling.jitter[1], genotype.input.short)
    return {name: side for name, side in sides.items() if side > params.transcode.short}


def _search(
    params: Params, videos: Videos, space: Space, found: Found, part: str
) -> Iterator[StageCost]:
    """The costs of warmup, search, control and derive on the subset, split into two halves.

    Args:
        part: of a search in parts, but for the last
    """
    subset, search = params.subset, params.search
    classes = searched(params, videos)
    train = min(classes * subset.train, videos.train)
    val = min(classes * subset.val, videos.val)
    steps, batch = epoch_shape(train // 2, params.supernet.batch)
    costs = SpaceCosts(space, classes)
    mean = costs.expected([[1 / len(c.candidates)] * len(c.candidates) for c in space.choices])

    def named(stage: str) -> str:
        return f"part_{stage}@{part}" if part else stage

    def phase(stage: str, epochs: int, draws: int, alpha_draws: int) -> StageCost:
        clips = epochs * steps * batch
        return StageCost(
            stage=named(stage),
            trained=(1 + BACKWARD) * clips * draws * mean,
            forward=clips * alpha_draws * mean,
            clips=clips * (2 if alpha_draws else 1),
            span=_span(space.input),
        )

    yield phase("warmup", params.warmup.epochs, params.warmup.draws, 0)
    yield phase("search", search.epochs, search.draws, search.alpha_draws)
    yield phase("control", params.control.epochs, search.draws, search.alpha_draws)
    clips = params.derive.calibration + CLIPS * val
    ranked = 2 + params.derive.runners_up + len(params.derive.budgets)  # found and mode
    each = cost(found[DERIVED / "genotype.yaml"], classes).gmacs
    yield StageCost(
        stage=named("derive"), forward=ranked * clips * each, clips=clips, span=_span(space.input)
    )


def _networks(params: Params, videos: Videos, found: Found) -> Iterator[StageCost]:
    """The costs of train and evaluate for each network."""
    networks, boxes = genotypes(params, found), _boxes(params)
    for name, genotype in networks.items():
        train = params.train[name]
        steps, batch = epoch_shape(videos.train, train.batch)
        clips = train.epochs * steps * batch
        validations = -(-train.epochs // train.validate_every)  # the last epoch has one
        validated = validations * videos.val
        account = cost(genotype, videos.classes, boxes=boxes)
        side = _test_side("center", genotype.input, boxes)
        tested = cost(genotype, videos.classes, crop=side, boxes=boxes).gmacs
        recalibrated = min(train.bn_steps, steps) * batch
        weights = FLOAT_BYTES * account.params / 1e9
        yield StageCost(
            stage=f"train@{name}",
            trained=(1 + BACKWARD) * clips * account.gmacs,
            forward=recalibrated * account.gmacs + validated * tested,
            clips=clips / train.sampling.repeats + recalibrated + validated,
            span=_span(genotype.input),
            gigabytes=weights
            * (1 + 2 * CHECKPOINTS),  # checkpoints also have a momentum for each weight
            files=3 + CHECKPOINTS,
        )
    for name, genotype in networks.items():
        yield _evaluation(name, genotype, params, videos)


def _evaluation(name: str, genotype: Genotype, params: Params, videos: Videos) -> StageCost:
    """The cost of testing every view of every split, with the rules of crops that are tested."""
    tests = params.evaluate
    count = sum(getattr(videos, split) for split in tests.splits or (tests.split,))
    places = len(union_places(tests.clips, tests.rule))
    size, boxes, views, a_video = genotype.input, _boxes(params), 0, 0.0
    rules: tuple[Crops, ...] = ("center", "lcr") if tests.crops == 3 else ("center",)
    for crops in rules:
        side = _test_side(crops, size, boxes)
        each = places * len(crop_sides(crops))
        views += each
        a_video += each * cost(genotype, videos.classes, size.frames, side, boxes).gmacs
    return StageCost(
        stage=f"evaluate@{name}",
        forward=count * a_video,
        clips=2 * count * places,
        span=_span(size),
        gigabytes=FLOAT_BYTES * count * views * videos.classes / 1e9,
        files=3,
    )


def _boxes(params: Params) -> int | None:
    """Those of a clip for which its cost is counted, as in its test; None without boxes."""
    return 1 if params.annotate.dataset in BOXED else None


def _test_side(crops: Crops, clip: ClipSpec, boxes: int | None) -> int:
    """The size of a test view in px: boxes are asked about in all of the shorter side."""
    return clip.short if boxes else test_size(crops, clip.short, clip.crop)


def _span(clip: ClipSpec) -> float:
    """Seconds of video that a clip is cut from."""
    return clip.frames * clip.stride / SOURCE_RATE


def genotypes(params: Params, found: Found) -> dict[str, Genotype]:
    """The networks to train by name, made as the stages `scale` and `baseline` make them."""
    networks = {}
    for name, size in params.scale.items():
        networks[name] = scaled(found[DERIVED / "genotype.yaml"], name, size.spec, size.depth)
    for name, rule in params.baseline.items():
        of = Path(rule.of)
        ours = of.parent == Path("results/genotypes") and of.stem in params.scale
        genotype = networks[of.stem] if ours else found.get(of) or Genotype.load(of)
        networks[name] = baseline(genotype, name, clip_of(genotype, rule, params.scale), rule)
    return {name: networks[name] for name in params.train if name not in params.expand.targets}
