r"""The search on several seeds, each beside its null control, and how far the seeds agree.

    python -m bench.search_demo --seeds 1 2 3

Warm-up, search and control with params.yaml as it is, but for the seed. The claim: where the label
is in time alone, some group's kernels turn temporal (t3, t5) with probability 0.9 or more; with
the labels of alpha's half shuffled, none do.
"""

from __future__ import annotations

import itertools

from bench.trial import Lab, found, parser

from autox3d.core.records import Alpha
from autox3d.reporting.choices import temporal
from autox3d.runtime.program import run
from autox3d.search.space import Draw, Space


def main() -> None:
    flags = parser(__doc__, "out/search_demo")
    flags.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = flags.parse_args()
    lab = Lab(asked.workspace, asked.out, asked.set)
    space, modes = lab.space(lab.settings), []
    for seed in asked.seeds:
        settings = lab.changed(supernet={"seed": seed})
        warm = lab.warm_up(f"seed{seed}", settings)
        search = lab.search(f"seed{seed}/search", settings, warm)
        null = lab.control(f"seed{seed}/control", settings, warm)
        modes.append(found(search, space).mode())
        for name, folder in (("search", search), ("null control", null)):
            choices = Alpha.read(folder / "alpha.json").choices
            shares = " ".join(f"{history[-1]:.3f}" for history in temporal(choices).values())
            print(f"seed {seed}, {name:<12}  P(temporal) by group: {shares}", flush=True)
    print(f"choices on which two seeds agree: {agreement(space, modes):.0%} on average")


def agreement(space: Space, modes: list[Draw]) -> float:
    """Share of the open choices that two seeds take alike, mean over the pairs of seeds."""
    choices = [number for number, choice in enumerate(space.choices) if len(choice.candidates) > 1]
    pairs = list(itertools.combinations(modes, 2))
    alike = sum(one[choice] == two[choice] for one, two in pairs for choice in choices)
    return alike / (len(pairs) * len(choices)) if pairs else 1.0


if __name__ == "__main__":
    run(main)
