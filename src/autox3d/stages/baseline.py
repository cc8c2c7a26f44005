r"""Stage `baseline`: makes a network to compare with: thinner, without time, without attention.

python -m autox3d.stages.baseline --network x3d_s --genotype architectures/x3d_s.yaml \
    --out results/genotypes/x3d_s.yaml
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.runtime.program import arguments, run
from autox3d.sizing.scaling import baseline
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """Uses the entry of `baseline` with the network's name, and the input of a size of `scale`."""
    files = arguments(__doc__, "genotype", "out", words=["network"])
    params = settings.load()
    rule = settings.named(params.baseline, "baseline", files.network)
    spec = settings.named(params.scale, "scale", rule.input).spec
    baseline(Genotype.load(files.genotype), files.network, spec, rule).save(files.out)


if __name__ == "__main__":
    run(main)
