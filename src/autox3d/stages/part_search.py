r"""Stage `part_search`: the search of one part of a search in parts. One process per GPU.

python -m autox3d.runtime.launch part_search --part sparse \
    --space results/parts/sparse/space.yaml --clips data/subset.parquet \
    --init data/parts/sparse/warmup.safetensors \
    --weights data/parts/sparse/search.safetensors \
    --alpha results/parts/sparse/search/alpha.json --steps data/parts/sparse/steps.parquet \
    --trace results/parts/sparse/search/trace.csv \
    --made results/parts/sparse/search/search_made.json
"""

from __future__ import annotations

from autox3d.core import overrides, settings
from autox3d.runtime.program import arguments, run
from autox3d.stages.search import write


def main() -> None:
    """Uses the settings of the part, `parts.before`, and of the search for what they leave."""
    names = ("space", "clips", "init", "weights", "alpha", "steps", "trace", "made")
    files = arguments(__doc__, *names, words=["part"])
    write("part_search", files, overrides.for_part(settings.load(), files.part), files.part)


if __name__ == "__main__":
    run(main)
