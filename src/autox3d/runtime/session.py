"""What a long run needs of its surroundings: processes, checkpoints, tracking.

    with session("train", "s", parts=parts, params=asdict(recipe), data=clips) as run:
        result = train(genotype, clips, recipe, run)

A stage opens one and hands it to the function that does the work; a study or a notebook does the
same. Without a launcher and with `tracked=False` it is one quiet process that resumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import Checkpoints, fingerprint, folder
from autox3d.runtime.distributed import World, join


class Session(NamedTuple):
    """The surroundings of one run, open while its block lasts."""

    world: World  # the processes that share it
    kept: Checkpoints
    mirror: tracking.Run  # what MLflow hears of it

    @property
    def writes(self) -> bool:
        """Whether this process writes the results: rank 0 does."""
        return self.world.rank == 0


@contextmanager
def session(
    stage: str,
    network: str = "",
    *,
    parts: Mapping[str, Any],
    params: Mapping[str, object],
    data: Path,
    tracked: bool = True,
) -> Iterator[Session]:
    """Joins the job's processes, takes the folder of checkpoints, opens a tracked run.

    Args:
        stage: of dvc.yaml, or the name of a study's run
        network: its name, where the stage has an item for each
        parts: all that the result follows from; it names the folder of checkpoints
        params: settings that the tracked run shows
        data: the table of clips, whose fingerprint is a tag of the tracked run
        tracked: false for a run that MLflow need not hear of

    Raises:
        Refused: another job is at work on the same run.
    """
    with (
        join() as world,
        Checkpoints(folder(stage, **parts), writes=world.rank == 0) as kept,
        tracking.run(
            stage,
            network,
            params,
            {"data": fingerprint(clips=data)},
            resume=kept.folder / "mlflow-run",
            enabled=tracked,
        ) as mirror,
    ):
        yield Session(world, kept, mirror)
