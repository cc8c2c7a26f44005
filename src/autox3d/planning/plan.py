"""What a pipeline will cost, from its settings and measured rates, before any of it runs.

A stage's work is its networks' multiply-adds times clips times epochs, as the stages count them;
a backward pass is taken as two forward passes. Nothing is known of the network that a search will
find: the draw of the space that is nearest to the target stands for it, and the mean of uniform
draws for those that a search trains (it ends nearer to the target).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autox3d.core.schema import table
from autox3d.core.settings import Params
from autox3d.core.values import Positive
from autox3d.search.space import Space, SpaceCosts
from autox3d.sizing.scaling import scaled, thinned, without_time
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.order import epoch_shape
from autox3d.vision.clips.views import crop_sides, test_size, union_places

BACKWARD = 2  # forward passes that a backward pass costs
TRIED = 2000  # draws among which the one nearest to the target is taken
NUMBER = 4  # bytes of a weight, a momentum, a score
CHECKPOINTS = 4  # the last three and the best


@table
class Rates:
    """What one device and one core do, measured; `autox3d plan --measure` writes such a file."""

    device: str  # as it names itself
    measured: str  # how
    train: Positive  # 1e9 multiply-adds a second of a device, both passes counted
    forward: Positive  # 1e9 multiply-adds a second of a device
    transcode: Positive  # s of video that a core checks and encodes in a second
    clips: Positive  # training clips that a core decodes and cuts in a second
    megabytes: Positive  # of a transcoded clip, each second of it


class Videos(NamedTuple):
    """What the data set holds."""

    train: int
    val: int
    test: int
    classes: int
    seconds: float  # of a video, the mean

    @property
    def total(self) -> int:
        """Of all splits."""
        return self.train + self.val + self.test


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One stage's, or one item's."""

    stage: str
    trained: float = 0.0  # 1e9 multiply-adds of steps, both passes
    forward: float = 0.0  # 1e9 multiply-adds of forward passes alone
    clips: float = 0.0  # decoded
    seconds: float = 0.0  # of video to transcode
    gigabytes: float = 0.0  # that stay on the disk
    files: int = 0

    def device_hours(self, rates: Rates) -> float:
        """Of one GPU, or of what the rates were measured on."""
        return (self.trained / rates.train + self.forward / rates.forward) / 3600

    def core_hours(self, rates: Rates) -> float:
        """Of transcoding, or of decoding for the device."""
        return (self.seconds / rates.transcode + self.clips / rates.clips) / 3600


def work(params: Params, videos: Videos, rates: Rates) -> list[Work]:
    """Every stage that takes more than minutes, in their order.

    Raises:
        Refused: a file of the settings is missing or wrong.
    """
    space = Space.load(Path(params.supernet.space))
    seconds = videos.total * videos.seconds
    shards = len(params.annotate.shards)
    done = Work(
        stage="transcode",
        seconds=seconds,
        gigabytes=seconds * rates.megabytes / 1e3,
        files=2 * shards,
    )
    costs = SpaceCosts(space, min(params.subset.classes, videos.classes))
    found = nearest(space, costs, params.search.target)
    return [done, *_search(params, videos, space, costs), *_networks(params, videos, found)]


def nearest(space: Space, costs: SpaceCosts, target: float) -> Genotype:
    """The draw, of 2,000 uniform ones, whose cost is nearest to `target` G multiply-adds."""
    counts = [len(choice.candidates) for choice in space.choices]
    draws = np.random.default_rng(0).integers(counts, size=(TRIED, len(counts))).tolist()
    best = min(draws, key=lambda draw: abs(costs.of(tuple(draw)) - target))
    return space.genotype(tuple(best), "found")


def _search(params: Params, videos: Videos, space: Space, costs: SpaceCosts) -> Iterator[Work]:
    """warmup, search, control, derive: on the subset, whose training clips are halved."""
    subset, search = params.subset, params.search
    classes = min(subset.classes, videos.classes)
    train = min(classes * subset.train, videos.train)
    val = min(classes * subset.val, videos.val)
    steps, batch = epoch_shape(train // 2, params.supernet.batch)
    mean = costs.expected([[1 / len(c.candidates)] * len(c.candidates) for c in space.choices])

    def phase(stage: str, epochs: int, draws: int, alpha_draws: int) -> Work:
        clips = epochs * steps * batch
        return Work(
            stage=stage,
            trained=(1 + BACKWARD) * clips * draws * mean,
            forward=clips * alpha_draws * mean,
            clips=clips * (2 if alpha_draws else 1),
        )

    yield phase("warmup", params.warmup.epochs, params.warmup.draws, 0)
    yield phase("search", search.epochs, search.draws, search.alpha_draws)
    yield phase("control", params.control.epochs, search.draws, search.alpha_draws)
    clips = params.derive.calibration + val
    ranked = 1 + params.derive.runners_up
    yield Work(stage="derive", forward=ranked * clips * search.target, clips=clips)


def _networks(params: Params, videos: Videos, found: Genotype) -> Iterator[Work]:
    """train and evaluate of each network."""
    networks = genotypes(params, found)
    for name, genotype in networks.items():
        train = params.train[name]
        steps, batch = epoch_shape(videos.train, train.batch)
        clips = train.epochs * steps * batch
        checked = train.epochs * videos.val + min(train.bn_steps, steps) * batch
        account = cost(genotype, videos.classes)
        weights = NUMBER * account.params / 1e9
        yield Work(
            stage=f"train@{name}",
            trained=(1 + BACKWARD) * clips * account.gmacs,
            forward=checked * account.gmacs,
            clips=clips / train.sampling.repeats + checked,
            gigabytes=weights * (1 + 2 * CHECKPOINTS),  # with a momentum for each weight
            files=3 + CHECKPOINTS,
        )
    for name, genotype in networks.items():
        yield _evaluation(name, genotype, params, videos)


def _evaluation(name: str, genotype: Genotype, params: Params, videos: Videos) -> Work:
    """Every view, of both rules of crops."""
    count = getattr(videos, params.evaluate.split)
    places = len(union_places(params.evaluate.clips, params.evaluate.rule))
    size, views, a_video = genotype.input, 0, 0.0
    for crops in ("center", "lcr"):
        side = test_size(crops, size.short, size.crop)
        each = places * len(crop_sides(crops))
        views += each
        a_video += each * cost(genotype, videos.classes, size.frames, side).gmacs
    return Work(
        stage=f"evaluate@{name}",
        forward=count * a_video,
        clips=2 * count * places,
        gigabytes=NUMBER * count * views * videos.classes / 1e9,
        files=3,
    )


def genotypes(params: Params, found: Genotype) -> dict[str, Genotype]:
    """Every network that is trained, as the stages `scale` and `baseline` make them."""
    made = {}
    for name, size in params.scale.items():
        made[name] = scaled(found, name, size.spec, size.depth)
    for name, rule in params.baseline.items():
        of = Path(rule.of)
        ours = of.parent == Path("results/genotypes") and of.stem in params.scale
        genotype = made[of.stem] if ours else Genotype.load(of)
        made[name] = thinned(genotype, name, made["s"].input, rule.width, rule.depth)
        if not rule.temporal:
            made[name] = without_time(made[name], name)
    return {name: made[name] for name in params.train}
