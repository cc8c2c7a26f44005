r"""Stage `warmup`: trains the supernet's weights alone, before the search. One process per GPU.

python -m autox3d.runtime.launch warmup --space architectures/space_demo.yaml \
    --clips data/subset.parquet --weights data/supernet/warmup.safetensors \
    --curve results/warmup.csv --made results/warmup_made.json
"""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

from autox3d.core import settings, tables
from autox3d.core.search_records import WarmupMade
from autox3d.runtime.program import arguments, run
from autox3d.runtime.session import session
from autox3d.search.attention_pairs import attention_pairs
from autox3d.search.derive import check
from autox3d.search.files import save_weights, write_curve
from autox3d.search.run import SearchClips, SearchRecipe, warm_up
from autox3d.search.space import Space


def main() -> None:
    """Uses the settings `supernet` and `warmup`, and the epochs of `search` for the cosine."""
    files = arguments(__doc__, "space", "clips", "weights", "curve", "made")
    write("warmup", files, settings.load())


def write(stage: str, files: SimpleNamespace, params: settings.Params, part: str = "") -> None:
    """Warms up, and writes the outputs; `part` is that of a search in parts."""
    space = Space.load(files.space)
    check(space, len(tables.read_classes(files.clips)), params.search, params.derive)
    recipe = SearchRecipe.of(params)
    shared, warmup = recipe.supernet, recipe.warmup
    parts = {"shared": shared, "warmup": warmup, "total": recipe.epochs}
    parts |= {"space": space, "clips": files.clips, **recipe.drawn_by}
    shown = asdict(shared) | {"warmup": asdict(warmup)}
    table = params.device.table
    with session(stage, part, parts=parts, params=shown, data=files.clips, table=table) as work:
        clips = SearchClips.load(files.clips)
        result = warm_up(space, clips, recipe, work)
        if work.writes:
            save_weights(files.weights, result.state)
            write_curve(files.curve, "warmup", result.state.trace())
            device, made = work.world.device, result.made(work.world, shared.seed)
            pairs = attention_pairs(result.state.supernet, space, clips.alpha, shared, device)
            WarmupMade(made=made, attention=pairs).write(files.made)
            for path in (files.curve, files.made):
                work.mirror.artifact(path)


if __name__ == "__main__":
    run(main)
