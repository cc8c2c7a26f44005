r"""Stage `scale`: scales the derived network to one size.

python -m autox3d.stages.scale --network s --genotype results/derive/genotype.yaml \
    --out results/genotypes/s.yaml
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.runtime.program import arguments, run
from autox3d.sizing.scaling import scaled
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """Uses the entry of `scale` with the network's name."""
    files = arguments(__doc__, "genotype", "out", words=["network"])
    size = settings.named(settings.load().scale, "scale", files.network)
    scaled(Genotype.load(files.genotype), files.network, size.spec, size.depth).save(files.out)


if __name__ == "__main__":
    run(main)
