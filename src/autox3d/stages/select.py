r"""Stage `select`: the network of an expansion for a target, for `train` and `evaluate`.

python -m autox3d.stages.select --target s --candidates results/expand/targets/s \
    --trained results/expand/trained/s --choice results/expand/selected/s.json \
    --genotype results/genotypes/s.yaml
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.runtime.program import arguments, run
from autox3d.sizing import steps


def main() -> None:
    """Uses `expand.contract` and `expand.seeds`."""
    files = arguments(__doc__, "candidates", "trained", "choice", "genotype", words=["target"])
    asked, step = settings.load().expand, steps.ExpansionStep.read(files.candidates)
    trained = steps.records(files.trained, asked.contract, asked.seeds)
    chosen = steps.choose(step, (), trained)
    chosen.write(files.choice)
    steps.selected(files.candidates, step, chosen, files.target).save(files.genotype)
    print(steps.line(chosen))


if __name__ == "__main__":
    run(main)
