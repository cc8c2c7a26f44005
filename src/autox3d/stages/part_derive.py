r"""Stage `part_derive`: what one part of a search in parts has found; the next takes it over.

python -m autox3d.runtime.launch part_derive --part sparse \
    --space results/parts/sparse/space.yaml --clips data/subset.parquet \
    --alpha results/parts/sparse/search/alpha.json \
    --weights data/parts/sparse/search.safetensors \
    --genotype results/parts/sparse/derive/genotype.yaml \
    --front results/parts/sparse/derive/front --report results/parts/sparse/derive/derive.json
"""

from __future__ import annotations

from autox3d.core import overrides, settings
from autox3d.runtime.program import arguments, run
from autox3d.stages.derive import write


def main() -> None:
    """Uses the settings of the part, `parts.before`, and of the search for what they leave."""
    names = ("space", "clips", "alpha", "weights", "genotype", "front", "report")
    files = arguments(__doc__, *names, words=["part"])
    write(files, overrides.for_part(settings.load(), files.part))


if __name__ == "__main__":
    run(main)
