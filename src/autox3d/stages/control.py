r"""Stage `control`: the search with shuffled labels in alpha's half. One process per GPU.

python -m autox3d.runtime.launch control --space architectures/space_demo.yaml \
    --clips data/subset.parquet --init data/supernet/warmup.safetensors \
    --alpha results/control/alpha.json --trace results/control/trace.csv \
    --made results/control/control_made.json

Alpha then cannot learn from the clips, so any change of its entropy is noise. The control has the
search's learning rates; the epochs that it leaves out go on in the trace with noise and no clips.
"""

from __future__ import annotations

from dataclasses import asdict

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.runtime.program import arguments, run
from autox3d.runtime.session import session
from autox3d.search.files import alpha_record, write_curve, write_nothing
from autox3d.search.run import SearchClips, SearchRecipe, search
from autox3d.search.simulation import drawn_on
from autox3d.search.space import Space


def main() -> None:
    """Uses the settings `control` and those of the search."""
    files = arguments(__doc__, "space", "clips", "init", "alpha", "trace", "made")
    recipe, space = SearchRecipe.of(settings.load()), Space.load(files.space)
    shared, params, table = recipe.supernet, recipe.search, settings.load().device.table
    epochs = settings.load().control.epochs
    if epochs > params.epochs:
        raise Refused(
            f"params.yaml: 'control.epochs' is {epochs}, but the search has {params.epochs}. "
            f"Set it to {params.epochs} or less."
        )
    if not epochs:
        write_nothing(files.trace, files.alpha, files.made, space)
        return
    parts = {"shared": shared, "search": params, "warm": recipe.warmup.epochs, "epochs": epochs}
    parts |= {"space": space, "clips": files.clips, "init": files.init} | recipe.timings
    shown = asdict(shared) | {"search": asdict(params)}
    with session("control", parts=parts, params=shown, data=files.clips, table=table) as work:
        clips = SearchClips.load(files.clips)
        clips.shuffle(shared.seed)
        result = search(space, clips, recipe, work, init=files.init, epochs=epochs, name="control")
        if work.writes:
            further = drawn_on(result.state, result.schedule, recipe.epochs)
            write_curve(files.trace, "control", result.state.trace(), further)
            alpha_record(space, result.state).write(files.alpha)
            result.made(work.world, shared.seed).write(files.made)
            for path in (files.space, files.alpha, files.trace, files.made):
                work.mirror.artifact(path)


if __name__ == "__main__":
    run(main)
