r"""Stage `contract`: the networks of an expansion that meet a target.

python -m autox3d.stages.contract --target s --base results/expand/base.yaml \
    --choices results/expand/choices --clips data/clips.parquet --out results/expand/targets/s
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
    files = arguments(__doc__, "base", "choices", "clips", "out", words=["target"])
    asked, base = settings.load().expand, Genotype.load(files.base)
    taken = [StepChoice.read(files.choices / f"{name}.json") for name in (*asked.base, *asked.path)]
    classes = len(tables.read_classes(files.clips))
    of_network = price(asked, classes)
    steps.write(files.out, *steps.contract(base, taken, files.target, asked, of_network, classes))


if __name__ == "__main__":
    run(main)
