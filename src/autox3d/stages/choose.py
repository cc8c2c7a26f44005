r"""Stage `choose`: the candidate that a step of an expansion takes, and how surely.

python -m autox3d.stages.choose --candidates results/expand/steps/step1 \
    --before results/expand/choices/x2d.json --trained results/expand/trained/step1 \
    --choice results/expand/choices/step1.json
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.runtime.program import arguments, run
from autox3d.sizing import steps
from autox3d.sizing.choice import StepChoice


def main() -> None:
    """Uses `expand.axes` and `expand.seeds`."""
    files = arguments(__doc__, "candidates", "before", "trained", "choice")
    asked, before = settings.load().expand, StepChoice.read(files.before)
    step = steps.ExpansionStep.read(files.candidates)
    trained = steps.records(files.trained, asked.axes, asked.seeds)
    chosen = steps.choose(step, before.gaps, trained)
    chosen.write(files.choice)
    print(steps.line(chosen))


if __name__ == "__main__":
    run(main)
