r"""Stage `warmup`: the supernet's weights alone, every network equally probable. One process a GPU.

python -m autox3d.run.launch warmup --space architectures/space_demo.yaml \
    --clips data/subset.parquet --weights data/supernet/warmup.safetensors \
    --curve results/warmup.csv --made results/warmup_made.json
"""

from __future__ import annotations

from dataclasses import asdict

from autox3d import config
from autox3d.run import made, tracking
from autox3d.run.checkpoint import Checkpoints, fingerprint, folder
from autox3d.run.distributed import join
from autox3d.run.program import paths, run
from autox3d.space import Space
from autox3d.stages.phase import Phase, save_weights, write_curve


def main() -> None:
    """Settings: `supernet`, `warmup`, and the search's, whose epochs share one cosine with ours."""
    files = paths(__doc__, "space", "clips", "weights", "curve", "made")
    shared = config.load("supernet", config.Supernet)
    params = config.load("warmup", config.Warmup)
    search = config.load("search", config.Search)
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
            made.write(files.made, phase.seconds, world.device, world.size, seed=shared.seed)
            for path in (files.curve, files.made):
                mirror.artifact(path)


if __name__ == "__main__":
    run(main)
