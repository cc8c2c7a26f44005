r"""Stage `grow`: the candidates of a step of an expansion, one for each axis.

python -m autox3d.stages.grow --step step1 --base results/expand/base.yaml \
    --before results/expand/choices/x2d.json --clips data/clips.parquet \
    --out results/expand/steps/step1
"""

from __future__ import annotations

from autox3d.core import settings, tables
from autox3d.expanding.price import price
from autox3d.runtime.program import arguments, run
from autox3d.sizing import steps
from autox3d.sizing.choice import StepChoice
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """Uses the settings `expand`."""
    files = arguments(__doc__, "base", "before", "clips", "out", words=["step"])
    asked, before = settings.load().expand, StepChoice.read(files.before)
    classes = len(tables.read_classes(files.clips))
    base, of_network = Genotype.load(files.base), price(asked, classes)
    steps.write(files.out, *steps.grow(base, before, files.step, asked, of_network, classes))


if __name__ == "__main__":
    run(main)
