r"""Stage `baseline`: makes a network to compare with: thinner, shallower or not temporal.

python -m autox3d.stages.baseline --network x3d_s --genotype architectures/x3d_s.yaml \
    --out results/genotypes/x3d_s.yaml
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.runtime.program import arguments, run
from autox3d.sizing.scaling import thinned, without_time
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """Uses the entry of `baseline` with the network's name, and the input of `scale.s`."""
    files = arguments(__doc__, "genotype", "out", words=["network"])
    params = settings.load()
    rule = settings.named(params.baseline, "baseline", files.network)
    spec = settings.named(params.scale, "scale", "s").spec
    given = Genotype.load(files.genotype)
    genotype = thinned(given, files.network, spec, rule.width, rule.depth)
    (genotype if rule.temporal else without_time(genotype, files.network)).save(files.out)


if __name__ == "__main__":
    run(main)
