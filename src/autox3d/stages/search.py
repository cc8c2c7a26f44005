r"""Stage `search`: trains weights and alpha alternately after the warm-up. One process per GPU.

python -m autox3d.runtime.launch search --space architectures/space_demo.yaml \
    --clips data/subset.parquet --init data/supernet/warmup.safetensors \
    --weights data/supernet/search.safetensors --alpha results/search/alpha.json \
    --steps data/supernet/steps.parquet --trace results/search/trace.csv \
    --made results/search/search_made.json
"""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

from autox3d.core import settings, tables
from autox3d.runtime.program import arguments, run
from autox3d.runtime.session import session
from autox3d.search.files import alpha_record, save_weights, steps_table, write_curve
from autox3d.search.run import SearchClips, SearchRecipe, search
from autox3d.search.space import Space


def main() -> None:
    """Uses the settings `supernet` and `search`, and the epochs of `warmup`."""
    names = ("space", "clips", "init", "weights", "alpha", "steps", "trace", "made")
    write("search", arguments(__doc__, *names), settings.load())


def write(stage: str, files: SimpleNamespace, asked: settings.Params, part: str = "") -> None:
    """Searches, and writes the outputs; `part` is that of a search in parts."""
    recipe, space = SearchRecipe.of(asked), Space.load(files.space)
    shared, params = recipe.supernet, recipe.search
    parts = {"shared": shared, "search": params, "warm": recipe.warmup.epochs} | recipe.timings
    parts |= {"epochs": params.epochs, "space": space, "clips": files.clips, "init": files.init}
    shown = asdict(shared) | {"search": asdict(params)}
    table = asked.device.table
    with session(stage, part, parts=parts, params=shown, data=files.clips, table=table) as work:
        result = search(space, SearchClips.load(files.clips), recipe, work, init=files.init)
        if work.writes:
            save_weights(files.weights, result.state)
            tables.write_table(steps_table(space, result.state), files.steps)
            write_curve(files.trace, "search", result.state.trace())
            alpha_record(space, result.state).write(files.alpha)
            result.made(work.world, shared.seed).write(files.made)
            for path in (files.space, files.alpha, files.trace, files.made):
                work.mirror.artifact(path)


if __name__ == "__main__":
    run(main)
