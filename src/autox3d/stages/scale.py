r"""Stage `scale`: the found network at one size.

python -m autox3d.stages.scale --genotype results/derive/genotype.yaml \
    --out results/genotypes/s.yaml
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.runtime.program import paths, run
from autox3d.sizing.scaling import scaled
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """The size is the section of params.yaml that the output is named after."""
    files = paths(__doc__, "genotype", "out")
    name = files.out.stem
    size = settings.named(settings.load().scale, "scale", name)
    found = Genotype.load(files.genotype)
    scaled(found, name, size.clip, size.depth).save(files.out)


if __name__ == "__main__":
    run(main)
