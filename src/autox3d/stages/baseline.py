r"""Stage `baseline`: a network to compare the found one with, thinned or without time.

python -m autox3d.stages.baseline --genotype architectures/x3d_s.yaml \
    --out results/genotypes/x3d_s.yaml
"""

from __future__ import annotations

from autox3d import config
from autox3d.genotype import Genotype, Input
from autox3d.run.program import paths, run
from autox3d.scaling import thinned, without_time


def main() -> None:
    """The rule is the section of params.yaml that the output is named after; the input is S's."""
    files = paths(__doc__, "genotype", "out")
    name = files.out.stem
    rule = config.load(f"baseline.{name}", config.Baseline)
    size = config.load("scale.s", config.Scale)
    clip = Input(frames=size.frames, stride=size.stride, crop=size.crop, short=size.short)
    genotype = thinned(Genotype.load(files.genotype), name, clip, rule.width, rule.depth)
    (genotype if rule.temporal else without_time(genotype, name)).save(files.out)


if __name__ == "__main__":
    run(main)
