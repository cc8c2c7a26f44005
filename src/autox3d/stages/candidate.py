r"""Stage `candidate`: trains and tests one candidate of a step with one seed.

python -m autox3d.runtime.launch candidate --axis depth --seed 1 \
    --candidates results/expand/steps/step1 --clips data/clips.parquet \
    --out results/expand/trained/step1/depth_1.json \
    --made results/expand/made/step1_depth_1.json
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.expanding.candidate import run_candidate, untrained
from autox3d.runtime.program import arguments, run
from autox3d.sizing.steps import ExpansionStep


def main() -> None:
    """Uses the settings `expand` and `evaluate`, and the entry of `train` for candidates."""
    files = arguments(__doc__, "candidates", "clips", "out", "made", words=["axis", "seed"])
    params, step = settings.load(), ExpansionStep.read(files.candidates)
    if why := step.absent.get(files.axis):
        found = untrained(why)
    else:
        named = (files.candidates, files.axis, int(files.seed), files.clips)
        found = run_candidate("candidate", *named, params)
    if found:
        record, made = found
        record.write(files.out)
        made.write(files.made)


if __name__ == "__main__":
    run(main)
