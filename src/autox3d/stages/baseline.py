r"""Stage `baseline`: makes a network to compare with: thinner, without time, without attention.

python -m autox3d.stages.baseline --network x3d_s --genotype architectures/x3d_s.yaml \
    --out results/genotypes/x3d_s.yaml
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.runtime.program import arguments, run
from autox3d.sizing.scaling import baseline, clip_of
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """Uses the entry of `baseline` with the network's name, and `scale` for its input."""
    files = arguments(__doc__, "genotype", "out", words=["network"])
    params = settings.load()
    rule = settings.named(params.baseline, "baseline", files.network)
    given = Genotype.load(files.genotype)
    clip = clip_of(given, rule, params.scale)
    baseline(given, files.network, clip, rule).save(files.out)


if __name__ == "__main__":
    run(main)
