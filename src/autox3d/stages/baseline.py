r"""Stage `baseline`: a network to compare the found one with, thinned or without time.

python -m autox3d.stages.baseline --genotype architectures/x3d_s.yaml \
    --out results/genotypes/x3d_s.yaml
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.runtime.program import paths, run
from autox3d.sizing.scaling import thinned, without_time
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """The rule is the section of params.yaml that the output is named after; the input is S's."""
    files = paths(__doc__, "genotype", "out")
    name = files.out.stem
    params = settings.load()
    rule = settings.named(params.baseline, "baseline", name)
    clip = settings.named(params.scale, "scale", "s").clip
    genotype = thinned(Genotype.load(files.genotype), name, clip, rule.width, rule.depth)
    (genotype if rule.temporal else without_time(genotype, name)).save(files.out)


if __name__ == "__main__":
    run(main)
