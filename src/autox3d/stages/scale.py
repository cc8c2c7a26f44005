r"""Stage `scale`: the found network at one size.

python -m autox3d.stages.scale --genotype results/derive/genotype.yaml \
    --out results/genotypes/s.yaml
"""

from __future__ import annotations

from dataclasses import asdict

from autox3d import config
from autox3d.genotype import Genotype, Input
from autox3d.run.program import paths, run
from autox3d.scaling import scaled


def main() -> None:
    """The size is the section of params.yaml that the output is named after."""
    files = paths(__doc__, "genotype", "out")
    name = files.out.stem
    sizes = asdict(config.load(f"scale.{name}", config.Scale))
    depth = sizes.pop("depth")
    found = Genotype.load(files.genotype)
    scaled(found, name, Input(**sizes), depth).save(files.out)


if __name__ == "__main__":
    run(main)
