r"""Stage `begin`: the network that an expansion starts from, and what it costs.

python -m autox3d.stages.begin --name x2d --genotype architectures/x2d.yaml \
    --clips data/clips.parquet --base results/expand/base.yaml \
    --choice results/expand/choices/x2d.json
"""

from __future__ import annotations

from autox3d.core import settings, tables
from autox3d.expanding.price import price
from autox3d.runtime.program import arguments, run
from autox3d.sizing import steps
from autox3d.vision.arch.genotype import Genotype


def main() -> None:
    """Uses the entry of `expand.base` with the base's name, and the budget."""
    files = arguments(__doc__, "genotype", "clips", "base", "choice", words=["name"])
    asked, base = settings.load().expand, Genotype.load(files.genotype)
    stride = settings.named(asked.base, "expand.base", files.name).stride
    classes = len(tables.read_classes(files.clips))
    priced = price(asked, classes)
    record = steps.begin(base, files.name, stride, asked.budget, priced, classes)
    base.save(files.base, f"The network that an expansion starts from: {files.genotype}")
    record.write(files.choice)


if __name__ == "__main__":
    run(main)
