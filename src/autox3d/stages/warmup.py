r"""Stage `warmup`: the supernet's weights alone, every network equally probable. One process a GPU.

python -m autox3d.runtime.launch warmup --space architectures/space_demo.yaml \
    --clips data/subset.parquet --weights data/supernet/warmup.safetensors \
    --curve results/warmup.csv --made results/warmup_made.json
"""

from __future__ import annotations

from dataclasses import asdict

from autox3d.core import settings
from autox3d.runtime import provenance, tracking
from autox3d.runtime.checkpoint import Checkpoints, fingerprint, folder
from autox3d.runtime.distributed import join
from autox3d.runtime.program import paths, run
from autox3d.search.space import Space
from autox3d.stages.phase import Phase, save_weights, write_curve


def main() -> None:
    """Settings: `supernet`, `warmup`, and the search's, whose epochs share one cosine with ours."""
    files = paths(__doc__, "space", "clips", "weights", "curve", "made")
    shared = settings.load("supernet", settings.Supernet)
    params = settings.load("warmup", settings.Warmup)
    search = settings.load("search", settings.Search)
    space = Space.load(files.space)
    parts = {"shared": shared, "warmup": params, "total": params.epochs + search.epochs}
    parts |= {"space": space, "clips": files.clips}
    with (
        join() as world,
        Checkpoints(folder("warmup", **parts), writes=world.rank == 0) as kept,
        tracking.run(
            "warmup",
            "",
            asdict(shared) | {"warmup": asdict(params)},
            {"data": fingerprint(clips=files.clips)},
            resume=kept.folder / "mlflow-run",
        ) as mirror,
    ):
        phase = Phase(files.clips, space, shared, world, (params.epochs, search.epochs))
        recipe = phase.recipe(params.epochs, search, params.draws)
        phase.go("warmup", recipe, None, kept, mirror)
        if world.rank == 0:
            save_weights(files.weights, phase.state)
            write_curve(files.curve, "warmup", phase.state.rows)
            made = provenance.measured(phase.seconds, world.device, world.size, shared.seed)
            made.write(files.made)
            for path in (files.curve, files.made):
                mirror.artifact(path)


if __name__ == "__main__":
    run(main)
