r"""Stage `control`: the search again, with the labels of alpha's half shuffled. One process a GPU.

python -m autox3d.runtime.launch control --space architectures/space_demo.yaml \
    --clips data/subset.parquet --init data/supernet/warmup.safetensors \
    --alpha results/control/alpha.json --trace results/control/trace.csv \
    --made results/control/control_made.json

Alpha can then learn nothing of the clips: what its entropy does here, it does without a reason. The
epochs are the first ones of the search, at its rates. With none of them, the trace is empty.
"""

from __future__ import annotations

import torch

from autox3d.core import settings
from autox3d.core.errors import Refused
from autox3d.core.records import Alpha
from autox3d.runtime import provenance
from autox3d.runtime.program import paths, run
from autox3d.search.space import Space
from autox3d.stages.phase import write_curve
from autox3d.stages.search import search


def main() -> None:
    """Settings: `control`, and those of the search."""
    files = paths(__doc__, "space", "clips", "init", "alpha", "trace", "made")
    asked = settings.load("control", settings.Control).epochs
    most = settings.load("search", settings.Search).epochs
    if asked > most:
        raise Refused(
            f"params.yaml: 'control.epochs' is {asked}, but the search has {most}. "
            "Ask for as many or fewer."
        )
    if asked:
        return search("control", files, asked, shuffled=True)
    write_curve(files.trace, "control", [])
    Alpha(space=Space.load(files.space).name, choices=()).write(files.alpha)
    provenance.measured(0.0, torch.device("cpu"), 0).write(files.made)


if __name__ == "__main__":
    run(main)
