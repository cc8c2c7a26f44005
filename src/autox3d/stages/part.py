r"""Stage `part`: the space of one part of a search in parts.

python -m autox3d.stages.part --part dense --space architectures/space_two_streams.yaml \
    --found results/parts/sparse/derive/genotype.yaml --out results/parts/dense/space.yaml
"""

from __future__ import annotations

from autox3d.core import overrides, settings
from autox3d.core.search_settings import SCRATCH
from autox3d.runtime.program import arguments, run
from autox3d.search.parts import opened, save
from autox3d.search.space import Space
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """Uses `parts.open`; the settings of all parts are checked before the first is searched."""
    files = arguments(__doc__, "space", "found", "out", words=["part"])
    params = settings.load()
    for name in params.parts.before:
        overrides.for_part(params, name)
    part = settings.named(params.parts.open, "parts.open", files.part)
    found = None if str(files.found) == SCRATCH else Genotype.load(files.found)
    space = opened(Space.load(files.space), files.part, part, found)
    save(space, files.out, f"Part {files.part} of {files.space.name}.")
    print(f"part {files.part}: {space.size:.3g} networks")


if __name__ == "__main__":
    run(main)
