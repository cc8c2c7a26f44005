r"""Stage `control`: the search with shuffled labels in alpha's half. One process per GPU.

python -m autox3d.runtime.launch control --space architectures/space_demo.yaml \
    --clips data/subset.parquet --init data/supernet/warmup.safetensors \
    --alpha results/control/alpha.json --trace results/control/trace.csv \
    --made results/control/control_made.json

Alpha cannot learn from the clips then: any change of its entropy is noise. The control has the
search's learning rates; the epochs that it leaves out go on in the trace with noise and no clips.
"""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

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
    write("control", files, settings.load())


def write(stage: str, files: SimpleNamespace, asked: settings.Params, part: str = "") -> None:
    """Searches with shuffled labels; `part` is that of a search in parts."""
    recipe, space, epochs = SearchRecipe.of(asked), Space.load(files.space), asked.control.epochs
    shared, params, table = recipe.supernet, recipe.search, asked.device.table
    if epochs > params.epochs:
        of = f"has {params.epochs}. Set it to {params.epochs} or less."
        raise Refused(f"params.yaml: 'control.epochs' is {epochs}, but the search {of}")
    if not epochs:
        return write_nothing(files.trace, files.alpha, files.made, space)
    parts = {"shared": shared, "search": params, "warm": recipe.warmup.epochs, "epochs": epochs}
    parts |= {"space": space, "clips": files.clips, "init": files.init} | recipe.timings
    shown = asdict(shared) | {"search": asdict(params)}
    with session(stage, part, parts=parts, params=shown, data=files.clips, table=table) as work:
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
