"""The sections of params.yaml that a search reads: its supernet, its phases, what it derives.

`autox3d.core.settings` has the others, and reads them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from autox3d.core.schema import Added, table
from autox3d.core.values import UNTIMED, Count, Positive, Sampling, Share, Whole

NARROW = 0.01  # least width of derive.window
Paths = Literal["random", "strict", "sandwich"]
Budget = Literal["gmacs", "params", "ms"]  # G multiply-adds, M parameters, ms by a latency table
Column = Literal["kernel", "expansion", "channels", "attention"]  # of a group of blocks
DenseColumn = Literal["kernel", "expansion", "channels", "attention", "fuse"]
SCRATCH = "params/scratch"  # in place of a genotype or of weights, where there is none yet
PART = "results/parts/{part}/space.yaml"  # the space of a part
PART_FOUND = "results/parts/{part}/derive/genotype.yaml"  # what its search has found
STRATEGIES = Path(__file__).parents[1] / "search/strategies"  # a file each; nothing is imported


@table
class Likelihood:
    """How clips weight the sampled networks; the papers do not specify it."""

    clips: Count  # clips per chunk; each chunk has its own sampled networks and importances
    reduction: Literal["sum", "mean"]  # how the log-likelihoods of a chunk's clips are combined
    temperature: Positive  # divides the log-likelihoods before the softmax over the networks


@table
class Supernet:
    """The supernet's weights, which warm-up and search train on one half of the training clips."""

    seed: int  # of the initial weights, the order of the clips and the sampled networks
    space: str  # YAML file of the search space
    selection: Literal["fair", "naive"]  # which parts of a shared kernel each candidate uses
    batch: Count  # clips per step from each half, summed over all processes
    lr: Positive  # peak learning rate for 256 clips; one cosine over warm-up and search
    momentum: Share  # of SGD
    weight_decay: float  # of SGD
    dropout: Share  # rate before the last layer
    bn_clips: Count  # clips that share batch-norm statistics, within a chunk
    branch_gamma: Share  # initial gamma of each branch's last batch norm; 0 in X3D's code
    likelihood: Likelihood
    shared_draws: bool  # true: all chunks of a step use the same sampled networks
    pass_clips: Annotated[Count | None, Added(None)]  # clips of a pass; null: likelihood.clips
    sampling: Sampling

    @field_validator("pass_clips")
    @classmethod
    def _is_of_whole_chunks(cls, clips: int | None, others: ValidationInfo) -> int | None:
        """Chunks of a pass have one network, and each its own batch-norm statistics."""
        chunk, norm = others.data.get("likelihood"), others.data.get("bn_clips")
        if clips is None or chunk is None or norm is None:
            return clips
        if clips % chunk.clips:
            raise ValueError(
                f"{clips} is no multiple of likelihood.clips, {chunk.clips}. Take one, or null."
            )
        if others.data.get("shared_draws") is False:
            raise ValueError("several chunks have one network only with shared_draws: write null.")
        if chunk.clips % norm:
            raise ValueError(
                f"likelihood.clips, {chunk.clips}, is no multiple of bn_clips, {norm}: write null."
            )
        return clips


@table
class Warmup:
    """Training of the supernet's weights alone, with every network equally probable."""

    epochs: Whole  # 0: the search starts from randomly initialised weights
    draws: Count  # K, networks sampled per chunk; 1 trains a single random path
    paths: Annotated[Paths, Added("random")]  # how they are drawn, see search/paths.py


@table
class Search:
    """The search, which updates the weights and the architecture logits alpha alternately."""

    strategy: Annotated[str, Added("parsec")]  # the name of a file in search/strategies
    epochs: Count  # after the warm-up
    draws: Count  # K, networks sampled per chunk to update the weights
    alpha_draws: Annotated[int, Field(ge=2)]  # K for alpha; one network has nothing to compare with
    alpha_lr: Positive  # learning rate of Adam for alpha
    alpha_eps: Annotated[Positive, Added(1e-8)]  # epsilon of Adam: the noise of alpha's gradient
    cost: Literal["dual", "log", "plain"]  # a multiplier (dual), or the papers' penalties
    beta: Annotated[float, Field(ge=0)] | None  # weight of `log` and `plain`; null with `dual`
    budget: Annotated[Budget, Added("gmacs")]  # what the target bounds
    target: Positive  # G multiply-adds, M parameters or ms per clip; dearer networks are penalised
    floor: Positive | None  # as the target; cheaper networks are penalised; null: none
    latency: Annotated[str, Added(UNTIMED)]  # latency table for `budget: ms`
    memory_mb: Annotated[Positive | None, Added(None)]  # most activation memory of a clip

    @field_validator("strategy")
    @classmethod
    def _is_a_file(cls, name: str) -> str:
        """Checked here, so that a typing error stops the first stage and not the warm-up."""
        known = sorted(path.stem for path in STRATEGIES.glob("[!_]*.py"))
        if name not in known:
            raise ValueError(f"there is no strategy '{name}'. Known: {', '.join(known)}.")
        return name

    @field_validator("floor")
    @classmethod
    def _is_under_the_target(cls, floor: float | None, others: ValidationInfo) -> float | None:
        target = others.data.get("target")
        if floor is not None and others.data.get("cost") == "dual":
            raise ValueError("cost dual has only an upper bound: write null.")
        if floor is not None and target is not None and floor > target:
            raise ValueError(f"{floor:g} is above the target, {target:g}. Lower it, or write null.")
        return floor

    @field_validator("beta")
    @classmethod
    def _belongs_to_a_penalty(cls, beta: float | None, others: ValidationInfo) -> float | None:
        cost = others.data.get("cost")
        if cost == "dual" and beta is not None:
            raise ValueError(
                f"{beta:g} has no use with cost dual, which has no weight: write null."
            )
        if cost in ("log", "plain") and beta is None:
            raise ValueError(f"cost {cost} needs a weight. Write a number, such as 0.2.")
        return beta

    @field_validator("latency")
    @classmethod
    def _belongs_to_ms(cls, table: str, others: ValidationInfo) -> str:
        budget = others.data.get("budget")
        if budget == "ms" and table == UNTIMED:
            raise ValueError("budget ms needs a latency table: make one with `autox3d profile`.")
        if budget in ("gmacs", "params") and table != UNTIMED:
            raise ValueError(f"a latency table has no use with budget {budget}: write {UNTIMED}.")
        return table


@table
class Control:
    """The null control: the search on shuffled labels, where alpha can only follow noise."""

    epochs: Whole  # how many of the search's epochs to run; 0: no control


@table
class Derive:
    """The derived network, a front of others for other budgets, and its runners-up."""

    window: Annotated[tuple[Share, Share] | None, Added(None)]  # shares of the target; null: mode
    budgets: Annotated[tuple[Positive, ...], Added(())]  # of the front, in the target's unit
    runners_up: Whole  # how many of the next most probable networks in the window to rank
    calibration: Count  # training clips that recalibrate the batch norm of a ranked network

    @field_validator("window")
    @classmethod
    def _is_open(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and window[1] - window[0] < NARROW:
            raise ValueError(
                f"{window[0]:g} to {window[1]:g} is too narrow: leave {NARROW:g} or more."
            )
        return window

    @field_validator("budgets")
    @classmethod
    def _differ(cls, budgets: tuple[float, ...]) -> tuple[float, ...]:
        names = [f"{budget:g}" for budget in budgets]  # of the genotypes' files
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is there twice. Delete one.")
        return budgets


@table
class Part:
    """One part of a search in parts: what it takes over, and which columns are open in it."""

    found: str  # genotype of the part before it; `params/scratch`: this is the first
    sparse: tuple[Column, ...]  # open columns of the sparse stream, or of the only one
    dense: tuple[DenseColumn, ...]  # of the dense stream, which comes in with its first open one


@table
class Parts:
    """A search in parts, one after the other; the last one has the settings of the search."""

    space: str | None  # YAML file with all candidates of all parts; null: the search has no parts
    open: dict[str, Part]  # the parts by name, in their order; none: the search has no parts
    before: dict[str, dict[str, dict[str, Any]]]  # of each but the last: its settings that differ

    @field_validator("open")
    @classmethod
    def _follow_each_other(cls, parts: dict[str, Part], others: ValidationInfo) -> dict[str, Part]:
        if parts and others.data.get("space", "") is None:
            raise ValueError("the parts need a space. Name its file in 'parts.space'.")
        wanted = SCRATCH
        for name, part in parts.items():
            if not part.sparse and not part.dense:
                raise ValueError(f"{name} opens no column. Name some, or delete it.")
            for columns in (part.sparse, part.dense):
                if twice := [one for one in columns if columns.count(one) > 1]:
                    raise ValueError(f"{name} opens {twice[0]} twice. Delete one.")
            if part.found != wanted:
                raise ValueError(f"{name} takes over {part.found}. Write {wanted}.")
            wanted = PART_FOUND.format(part=name)
        return parts

    @field_validator("before")
    @classmethod
    def _are_those_before_the_last(
        cls, settings: dict[str, Any], others: ValidationInfo
    ) -> dict[str, Any]:
        parts = others.data.get("open")
        if parts is not None and list(settings) != (wanted := list(parts)[:-1]):
            raise ValueError(
                f"has {', '.join(settings) or 'nothing'}, but the parts before the last are "
                f"{', '.join(wanted) or 'none'}. Give each of them a table, in this order."
            )
        return settings


NO_PARTS = {"space": None, "open": {}, "before": {}}  # as settings have it
