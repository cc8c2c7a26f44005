r"""Stage `part_control`: the null control of one part of a search in parts. One process per GPU.

python -m autox3d.runtime.launch part_control --part sparse \
    --space results/parts/sparse/space.yaml --clips data/subset.parquet \
    --init data/parts/sparse/warmup.safetensors \
    --alpha results/parts/sparse/control/alpha.json \
    --trace results/parts/sparse/control/trace.csv \
    --made results/parts/sparse/control/control_made.json
"""

from __future__ import annotations

from autox3d.core import overrides, settings
from autox3d.runtime.program import arguments, run
from autox3d.stages.control import write


def main() -> None:
    """Uses the settings of the part, `parts.before`, and of the search for what they leave."""
    names = ("space", "clips", "init", "alpha", "trace", "made")
    files = arguments(__doc__, *names, words=["part"])
    write("part_control", files, overrides.for_part(settings.load(), files.part), files.part)


if __name__ == "__main__":
    run(main)
