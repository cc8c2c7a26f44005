"""The searches and trainings of one study; each is a separate run that can be resumed.

    lab = Lab(study="beta", params=params, space=space, subset=subset, clips=clips, out=out)
    warm = lab.warm_up("warmup", lab.recipe())
    result = lab.search("beta0.1", lab.recipe(search={"beta": 0.1}), warm)

Each run has checkpoints under a fingerprint of all its inputs. When a study is restarted, finished
runs are loaded from their last checkpoints and the interrupted one resumes. In MLflow, a run has
the name `study@beta/beta0.1`; its files are in the folder `beta0.1` of `out`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from pandas import DataFrame

from autox3d.core import settings, tables
from autox3d.core.curves import Curve
from autox3d.core.errors import Refused
from autox3d.core.records import Provenance
from autox3d.core.scores import Metrics
from autox3d.core.search_records import Alpha
from autox3d.core.settings import Evaluate, Params
from autox3d.evaluation.run import every_view, known, main_scores
from autox3d.runtime import provenance
from autox3d.runtime.checkpoint import RESUME, fingerprint, stop_requested
from autox3d.runtime.distributed import join
from autox3d.runtime.resumable import newest
from autox3d.runtime.session import Session, session
from autox3d.search import derive
from autox3d.search.costs import SpaceCosts, of_budget
from autox3d.search.files import alpha_record, epoch_row, save_weights, steps_table, write_curve
from autox3d.search.prior import Prior
from autox3d.search.ranking import Ranked, RankingClips, ranked
from autox3d.search.run import SearchClips, SearchRecipe, SearchResult, search, warm_up
from autox3d.search.space import Draw, Space
from autox3d.search.state import SearchState
from autox3d.search.window import within
from autox3d.training.run import TrainingClips, TrainingResult, train
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import weights

WARMED, SEARCHED = "warmup.safetensors", "search.safetensors"  # files of shared weights
DRAWN = 1000  # random networks that estimate the cheapest and the median cost of a space


class Ready(NamedTuple):
    """A warm-up that already exists, and its settings."""

    weights: Path
    recipe: SearchRecipe


class Searched(NamedTuple):
    """The result of a search of the study."""

    prior: Prior
    epochs: list[dict[str, float]]  # one row per epoch, as in trace.csv
    weights: Path | None  # of the supernet; None for a null control

    @property
    def costs(self) -> tuple[float, ...]:
        """G multiply-adds of the most probable network after each epoch."""
        return tuple(row["mode_gmacs"] for row in self.epochs)


class Answers(NamedTuple):
    """The test of a trained network."""

    headline: float | None  # of the task, from the largest number of views; None: no video counts
    hits: list[bool]  # whether each labelled video is right; empty if the headline is another thing


@dataclass(frozen=True)
class Lab:
    """What the runs of a study share: settings, space, clips, and the output folder."""

    study: str  # name of the study
    params: Params  # settings, including the study's overrides
    space: Space
    subset: Path  # table of the clips that searches use
    clips: Path  # table of the clips that trainings use
    out: Path  # folder of the runs' files
    ready: Ready | None = None  # of the same space and clips; used if its settings match
    tracked: bool = True  # whether runs are logged to MLflow
    made: dict[str, Provenance] = field(default_factory=dict)  # of the finished runs, by name

    def recipe(self, **sections: Mapping[str, Any]) -> SearchRecipe:
        """The settings of a search with some changed, such as `recipe(search={"beta": 0.1})`."""
        whole = SearchRecipe.of(self.params)
        changed = {name: replace(getattr(whole, name), **keys) for name, keys in sections.items()}
        return whole._replace(**changed)

    @cached_property
    def classes(self) -> int:
        """The number of classes of the clips that searches use."""
        return len(tables.read_classes(self.subset))

    @cached_property
    def costs(self) -> SpaceCosts:
        """The costs of all networks of the space."""
        return SpaceCosts(self.space, self.classes)

    @cached_property
    def task(self) -> str:
        """The name of the task that the clips are labelled for."""
        return tables.read_task(self.subset)

    def warm_up(self, name: str, recipe: SearchRecipe) -> Path:
        """Trains the weights that searches start from, or takes the existing ones if they match.

        Raises:
            Refused: a loss or a weight is not finite.
            SystemExit: the run received a stop signal; its state is saved.
        """
        if self.ready and _follows_from(self.ready.recipe) == _follows_from(recipe):
            return self.ready.weights
        shared, folder = recipe.supernet, self.out / name
        parts = {"shared": shared, "warmup": recipe.warmup, "total": recipe.epochs}
        parts |= {"space": self.space, "clips": self.subset, **recipe.drawn_by}
        shown = asdict(shared) | {"warmup": asdict(recipe.warmup)}
        with self._run(name, parts, shown, self.subset) as work:
            result = warm_up(self.space, self._halves, recipe, work)
            if work.writes:
                save_weights(folder / WARMED, result.state)
                write_curve(folder / "warmup.csv", "warmup", result.state.trace())
                work.mirror.artifact(folder / "warmup.csv")
            self._note(name, result, shared.seed, work)
        return folder / WARMED

    def search(self, name: str, recipe: SearchRecipe, init: Path) -> Searched:
        """Runs a search from the weights `init`.

        Raises:
            Refused: `init` belongs to another space, or a loss or a weight is not finite.
            SystemExit: the run received a stop signal; its state is saved.
        """
        with self._search(name, recipe, init, recipe.search.epochs) as work:
            what = {"init": init, "name": name}
            result = search(self.space, self._halves, recipe, work, **what)
            self._keep(name, result, recipe, work)
            if work.writes:
                folder = self.out / name
                save_weights(folder / SEARCHED, result.state)
                tables.write_table(steps_table(self.space, result.state), folder / "steps.parquet")
        return Searched(result.state.prior, _epochs(result.state), self.out / name / SEARCHED)

    def control(self, name: str, recipe: SearchRecipe, init: Path) -> Searched:
        """Runs the null control of a search: its first `control.epochs` epochs on shuffled labels.

        Raises:
            As `search`.
        """
        epochs = self.params.control.epochs
        with self._search(name, recipe, init, epochs) as work:
            clips = SearchClips.load(self.subset)
            clips.shuffle(recipe.supernet.seed)
            what = {"init": init, "epochs": epochs, "name": name}
            result = search(self.space, clips, recipe, work, **what)
            self._keep(name, result, recipe, work)
        return Searched(result.state.prior, _epochs(result.state), None)

    def derived(self, name: str, found: Searched, recipe: SearchRecipe) -> derive.Chosen:
        """The networks that `derive` takes from a finished search of this study."""
        alpha = Alpha.read(self.out / name / "alpha.json")
        costs = of_budget(self.space, self.classes, recipe.search)
        outcome = derive.Outcome(self.space, alpha, found.prior, costs, self.costs)
        return derive.choose(outcome, found.prior.mode(), recipe.search, self.params.derive)

    def train(self, genotype: Genotype, entry: str, seed: int | None = None) -> Metrics:
        """Trains a network from scratch, with the settings of an entry of `train`.

        Args:
            seed: instead of that of the settings

        Returns:
            The headline of the task on the validation videos; None if none has a label.

        Raises:
            Refused: there is no such entry, or a loss or a weight is not finite.
            SystemExit: the run received a stop signal; its state is saved.
        """
        recipe, name = settings.named(self.params.train, "train", entry), genotype.name
        if seed is not None:
            recipe = replace(recipe, seed=seed)
        parts = {"params": recipe, "genotype": genotype, "clips": self.clips}
        with self._run(f"train_{name}", parts, asdict(recipe), self.clips) as work:
            result = train(genotype, self._training, recipe, work)
            if work.writes:
                folder = self.out / f"train_{name}"
                how = {"data": fingerprint(clips=self.clips), "params": asdict(recipe)}
                known = (result.classes, how, result.metrics)
                weights.save(folder / "weights", result.net, genotype, *known, task=result.task)
                Curve.of(result.history).write(folder / "train.csv")
                work.mirror.artifact(folder / "train.csv")
            self._note(f"train_{name}", result, recipe.seed, work)
        headline = result.task.headline.name
        return {headline: result.metrics[f"val_{headline}"]}

    def test(self, name: str) -> Answers:
        """Tests a network that this study has trained, as `evaluate` says; tests are kept, too.

        Raises:
            Refused: `evaluate.split` has no clip.
            SystemExit: a stop signal was received during the test; its result is kept.
        """
        folder, tests = self.out / f"train_{name}" / "weights", self.params.evaluate
        parts = {"weights": folder, "evaluate": tests, "clips": self.clips}
        with self._run(f"test_{name}", parts, asdict(tests), self.clips) as work:
            found = newest(work.kept, work.world)
            if found is None:
                clips = Clips.load(self.clips, split=tests.split)
                trained = weights.load(folder)
                views = every_view(trained, clips, tests, work.world, work.kept.folder)
                table = views.table()
                found = work.world.share({} if table is None else _tested(table, clips, tests))
                work.kept.save(1, found)
                if work.writes:
                    views.discard()
        return Answers(**found)

    def ranked(
        self, draws: Sequence[Draw], supernet: Path, recipe: SearchRecipe | None = None
    ) -> list[Ranked]:
        """Measures each network with the calibrated weights of a supernet, on validation videos.

        Args:
            recipe: the settings of the supernet, if they are not those of the study
        """
        shared = (recipe or self.recipe()).supernet
        with join() as world:
            net = derive.load_supernet(supernet, self.space, self.classes, shared)
            clips, count = RankingClips.load(self.subset), self.params.derive.calibration
            return ranked(draws, net.to(world.device), clips, shared, count, world)

    def spread(self) -> tuple[float, float]:
        """The cheapest and the median cost of random networks, G multiply-adds."""
        return spread(self.space, self.costs)

    @cached_property
    def _halves(self) -> SearchClips:
        return SearchClips.load(self.subset)

    @cached_property
    def _training(self) -> TrainingClips:
        return TrainingClips.load(self.clips)

    @contextmanager
    def _search(
        self, name: str, recipe: SearchRecipe, init: Path, epochs: int
    ) -> Iterator[Session]:
        """Opens the session of a search or a null control."""
        shared, params = recipe.supernet, recipe.search
        parts = {"shared": shared, "search": params, "warm": recipe.warmup.epochs} | recipe.timings
        parts |= {"epochs": epochs, "space": self.space, "clips": self.subset, "init": init}
        shown = asdict(shared) | {"search": asdict(params)}
        with self._run(name, parts, shown, self.subset) as work:
            yield work

    @contextmanager
    def _run(
        self, name: str, parts: dict[str, Any], shown: dict[str, Any], data: Path
    ) -> Iterator[Session]:
        """Opens the session of one run; a stop signal at its end stops the study."""
        own = {"study": self.study, "run": name}
        run = f"{self.study}/{name}"
        with session(
            "study",
            run,
            parts=parts | own,
            params=shown,
            data=data,
            tracked=self.tracked,
            table=self.params.device.table,
        ) as work:
            yield work
            if work.world.any(stop_requested()):  # also: rank 0 has written what others read next
                sys.exit(RESUME)

    def _keep(self, name: str, result: SearchResult, recipe: SearchRecipe, work: Session) -> None:
        """Writes the files that a search and a null control have in common."""
        self._note(name, result, recipe.supernet.seed, work)
        if work.writes:
            alpha, trace = self.out / name / "alpha.json", self.out / name / "trace.csv"
            alpha_record(self.space, result.state).write(alpha)
            write_curve(trace, "search", result.state.trace())
            for path in (alpha, trace):
                work.mirror.artifact(path)

    def _note(
        self, name: str, result: SearchResult | TrainingResult, seed: int, work: Session
    ) -> None:
        device, size = work.world.device, work.world.size
        how = {"seed": seed, "kernels": result.kernels}
        self.made[name] = provenance.measured(result.seconds, device, size, **how)


def _tested(table: DataFrame, clips: Clips, tests: Evaluate) -> dict[str, Any]:
    """The headline and the hits, by key, of the scores of all views."""
    scores, labels = main_scores(table, clips, tests)
    headline = known(clips.task.measure(scores, labels)[clips.task.headline.name])
    pairs = clips.task.outcome(scores, labels, clips.classes)
    hits = [pair.actual == pair.predicted for pair in pairs]
    share = bool(hits) and not clips.task.several  # of videos; else the pairs are of labels
    same = share and headline is not None and math.isclose(sum(hits) / len(hits), headline)
    return {"headline": headline, "hits": hits if same else []}


def spread(space: Space, costs: SpaceCosts) -> tuple[float, float]:
    """The cheapest and the median cost of up to 1,000 random networks, G multiply-adds."""
    drawn = sorted(map(costs.of, draws(space, costs, 0.0, 1e9, min(DRAWN, space.size // 2), 1)))
    return drawn[0], drawn[len(drawn) // 2]


def draws(
    space: Space, costs: SpaceCosts, least: float, most: float, count: int, seed: int
) -> list[Draw]:
    """Samples `count` distinct architectures within a cost window.

    Args:
        least, most: bounds of the window, G multiply-adds per clip

    Raises:
        Refused: there are not enough of them.
    """
    try:
        return within(space, costs, least, most, count, seed)
    except ValueError as error:
        raise Refused(f"{error}. Ask for fewer, or for a wider range.") from error


def _follows_from(recipe: SearchRecipe) -> list[Any]:
    """The settings that determine the weights of a warm-up, for a given space and clips."""
    return [recipe.supernet, recipe.warmup, recipe.search.epochs, recipe.drawn_by]


def _epochs(state: SearchState) -> list[dict[str, float]]:
    epochs = groupby(state.trace(), key=lambda row: row.epoch)
    return [epoch_row(list(rows)) for _, rows in epochs]
