r"""Stage `part_warmup`: the warm-up of one part of a search in parts. One process per GPU.

python -m autox3d.runtime.launch part_warmup --part sparse \
    --space results/parts/sparse/space.yaml --clips data/subset.parquet \
    --weights data/parts/sparse/warmup.safetensors --curve results/parts/sparse/warmup.csv \
    --made results/parts/sparse/warmup_made.json
"""

from __future__ import annotations

from autox3d.core import overrides, settings
from autox3d.runtime.program import arguments, run
from autox3d.stages.warmup import write


def main() -> None:
    """Uses the settings of the part, `parts.before`, and of the search for what they leave."""
    names = ("space", "clips", "weights", "curve", "made")
    files = arguments(__doc__, *names, words=["part"])
    write("part_warmup", files, overrides.for_part(settings.load(), files.part), files.part)


if __name__ == "__main__":
    run(main)
