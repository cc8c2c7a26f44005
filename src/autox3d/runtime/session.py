"""The surroundings that a long run needs: processes, checkpoints, tracking.

    with session("train", "s", parts=parts, params=asdict(recipe), data=clips) as run:
        result = train(genotype, clips, recipe, run)

A stage opens a session and passes it to the function that does the work, and so does a study or a
notebook. Without a launcher and with `tracked=False` it is one process that resumes and logs
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from autox3d.core.values import UNTIMED
from autox3d.runtime import tracking
from autox3d.runtime.checkpoint import Checkpoints, fingerprint, folder
from autox3d.runtime.distributed import World, join


class Session(NamedTuple):
    """The surroundings of one run, open while its block lasts."""

    world: World  # the processes that share it
    kept: Checkpoints  # the checkpoints of this run
    mirror: tracking.Run  # what is sent to MLflow
    table: Path | None = None  # of the device, that the settings name; None: the package's

    @property
    def writes(self) -> bool:
        """Whether this process writes the results, which only rank 0 does."""
        return self.world.rank == 0


@contextmanager
def session(
    stage: str,
    network: str = "",
    *,
    parts: Mapping[str, Any],
    params: Mapping[str, object],
    data: Path,
    tags: Mapping[str, str] | None = None,
    tracked: bool = True,
    table: str = UNTIMED,
) -> Iterator[Session]:
    """Joins the processes of the job, locks the folder of checkpoints, opens a tracked run.

    Args:
        stage: the name of the stage in dvc.yaml, or of the run of a study
        network: the name of the network, where the stage has an item for each network
        parts: everything that determines the result; it gives the folder of checkpoints its name
        params: the settings that the tracked run shows
        data: the table of clips; its fingerprint becomes a tag of the tracked run
        tags: further tags of the tracked run
        tracked: false for a run that is not sent to MLflow
        table: the file of the device's table, another input; `UNTIMED` where there is none

    Raises:
        Refused: another job is working on the same run.
    """
    named = None if table == UNTIMED else Path(table)
    parts = {**parts, **({"table": named} if named else {})}
    with (
        join() as world,
        Checkpoints(folder(stage, **parts), writes=world.rank == 0) as kept,
        tracking.run(
            stage,
            network,
            params,
            {"data": fingerprint(clips=data), **(tags or {})},
            resume=kept.folder / "mlflow-run",
            enabled=tracked,
        ) as mirror,
    ):
        yield Session(world, kept, mirror, named)
