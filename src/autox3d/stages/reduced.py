r"""Stage `reduced`: trains and tests one network that a contraction has to choose from.

python -m autox3d.runtime.launch reduced --axis last --seed 1 \
    --candidates results/expand/targets/s --clips data/clips.parquet \
    --out results/expand/trained/s/last_1.json --made results/expand/made/s_last_1.json
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.expanding.candidate import run_candidate, untrained
from autox3d.runtime.program import arguments, run
from autox3d.sizing.steps import ExpansionStep

ALONE = "it is the only candidate: `train` trains it"


def main() -> None:
    """Uses the settings `expand` and `evaluate`, and the entry of `train` for candidates."""
    files = arguments(__doc__, "candidates", "clips", "out", "made", words=["axis", "seed"])
    params, step = settings.load(), ExpansionStep.read(files.candidates)
    alone = ALONE if len(step.candidates) == 1 else ""
    if why := step.absent.get(files.axis, alone):
        found = untrained(why)
    else:
        named = (files.candidates, files.axis, int(files.seed), files.clips)
        found = run_candidate("reduced", *named, params)
    if found:
        record, made = found
        record.write(files.out)
        made.write(files.made)


if __name__ == "__main__":
    run(main)
