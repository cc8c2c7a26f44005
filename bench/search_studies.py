r"""The papers' studies of the search, each by one command, on the clips of a finished demo.

    python -m bench.search_studies channels  # fair against naive parts (A3D, Figure 4, Table 4)
    python -m bench.search_studies attention  # attention alone, block by block (A3D, Table 3)
    python -m bench.search_studies beta      # the weight of the cost (Auto-TSNet's Table 1)
    python -m bench.search_studies targets   # what a search costs that was asked to cost something

In a larger workspace they are the papers' own (--set supernet.space=architectures/...). Costs are
multiply-adds of one clip. Beside what is printed, --out keeps every trace.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from bench.trial import Lab, Settings, found, parser, trace

from autox3d.runtime.program import run
from autox3d.search.channel_sets import uses
from autox3d.search.space import Draw, Space, SpaceCosts, within

DRAWN = 1000  # random networks that tell the cheapest and the median cost of a space
STEPS = (0.25, 0.5, 0.75)  # targets, from the cheapest to the median
WIDTH = 0.05  # of the two-sided range, to each side of its target
PLAIN = 20.0  # weight of the plain form, which no paper gives
MANUAL = {"stage 1": {1: 2}, "stage 2": {2: 2}, "stage 3": {3: 2}, "stages 3, 4": {3: 2, 4: 3}}
STUDY_SPACES = {
    "channels": "architectures/space_demo_channels.yaml",
    "attention": "architectures/space_demo_attention.yaml",
}


def main() -> None:
    flags = parser(__doc__, "out/studies")
    flags.add_argument("study", choices=STUDIES)
    flags.add_argument("--betas", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2])
    flags.add_argument("--train", help="section of `train` by which the found networks are trained")
    asked = flags.parse_args()
    lab = Lab(asked.workspace, asked.out / asked.study, asked.set)
    if asked.study in STUDY_SPACES and not any("supernet.space" in one for one in asked.set):
        lab.settings["supernet"]["space"] = STUDY_SPACES[asked.study]
    STUDIES[asked.study](lab, asked)


def channels(lab: Lab, asked: argparse.Namespace) -> None:
    """Two warm-ups, two searches, alike but for the parts that a candidate takes."""
    space = lab.space(lab.settings)
    least, median = costs(space, lab.classes())
    target = {"floor": None, "target": round((least + median) / 2, 6)}
    print(f"target {1e3 * target['target']:.2f} M, median of random networks {1e3 * median:.2f} M")
    for selection in ("naive", "fair"):
        settings = lab.changed(supernet={"selection": selection}, search=target)
        folder = lab.search(selection, settings, lab.warm_up(selection, settings))
        for row, axes in enumerate(space.axes(selection), 1):
            rings = {"channels": axes.outputs, "expansion": axes.expansions}
            counts = {name: uses(ring.arcs.values(), ring.count) for name, ring in rings.items()}
            print(f"{selection}, group {row}: {counts}")
        curve = " ".join(f"{1e3 * gmacs:.2f}" for gmacs in trace(folder)["mode_gmacs"])
        print(f"{selection}, M multiply-adds of the most probable network by epoch: {curve}")
        alone(lab, asked, space, selection, found(folder, space).mode())


def attention(lab: Lab, asked: argparse.Namespace) -> None:
    """The search of units alone, beside none and beside units set by hand."""
    space = lab.space(lab.settings)
    settings = lab.changed(search={"beta": 0.0})  # cost is not what this one is about
    folder = lab.search("search", settings, lab.warm_up("warmup", settings))
    prior = found(folder, space)
    for choice, row in zip(space.choices, prior.probabilities(), strict=True):
        if len(row) > 1:
            print(f"block {choice.group + 1}: P(unit) {1 - row[0]:.3f}")
    none = tuple(0 for _ in space.choices)
    alone(lab, asked, space, "without", none)
    for name, units in MANUAL.items():
        alone(lab, asked, space, name, by_hand(space, units))
    alone(lab, asked, space, "searched", prior.mode())


def beta(lab: Lab, asked: argparse.Namespace) -> None:
    """One warm-up, a search for each weight of the cost."""
    space, warm = lab.space(lab.settings), lab.warm_up("warmup", lab.settings)
    search = lab.settings["search"]
    print(f"range {search['floor']} to {search['target']} G, {search['cost']} form")
    for value in asked.betas:
        folder = lab.search(f"beta{value:g}", lab.changed(search={"beta": value}), warm)
        tell(f"beta {value:g}", folder, space)


def targets(lab: Lab, asked: argparse.Namespace) -> None:
    """One warm-up; for each target a range about it, then hinges at it, in both forms."""
    space, warm = lab.space(lab.settings), lab.warm_up("warmup", lab.settings)
    least, median = costs(space, lab.classes())
    print(f"cheapest {1e3 * least:.2f} M, median of random networks {1e3 * median:.2f} M")
    for name, share in itertools.product(("range", "hinge", "plain"), STEPS):
        target = round(least + share * (median - least), 6)
        changes: Settings = {"floor": None, "target": target}
        if name == "range":
            changes = {"floor": (1 - WIDTH) * target, "target": (1 + WIDTH) * target}
        elif name == "plain":
            changes |= {"cost": "plain", "beta": PLAIN}
        folder = lab.search(f"{name}{share:g}", lab.changed(search=changes), warm)
        gmacs = tell(f"{name} {1e3 * target:.2f} M", folder, space)
        print(f"  {gmacs / target - 1:+.1%} from the target")


STUDIES = {"channels": channels, "attention": attention, "beta": beta, "targets": targets}


def costs(space: Space, classes: int) -> tuple[float, float]:
    """The cheapest and the median of random networks, G multiply-adds."""
    table = SpaceCosts(space, classes)
    drawn = sorted(map(table.of, within(space, table, 0.0, 1e9, min(DRAWN, space.size // 2), 1)))
    return drawn[0], drawn[len(drawn) // 2]


def by_hand(space: Space, units: dict[int, int]) -> Draw:
    """GloRe behind the first blocks of a stage, as many as it has: stage -> units."""
    stages = list(itertools.accumulate(group.stride == 2 for group in space.groups))
    left, draw = dict(units), []
    for choice in space.choices:
        stage = stages[choice.group]
        here = left.get(stage, 0) > 0 and "glore" in choice.candidates
        draw.append(choice.candidates.index("glore") if here else 0)
        if here:
            left[stage] -= 1
    return tuple(draw)


def tell(name: str, folder: Path, space: Space) -> float:
    """Prints where a search ended; G multiply-adds of its most probable network."""
    last, prior = trace(folder).iloc[-1], found(folder, space)
    gmacs = float(last["mode_gmacs"])
    chance = prior.log_prob([prior.mode()]).exp().item()
    print(
        f"{name}: derived {1e3 * gmacs:.2f} M (probability {chance:.2f}), expected "
        f"{1e3 * last['expected_gmacs']:.2f} M, loss {last['loss']:.2f} nats",
        flush=True,
    )
    return gmacs


def alone(lab: Lab, asked: argparse.Namespace, space: Space, name: str, draw: Draw) -> None:
    """Prints a network and its cost; with --train its accuracy, trained from scratch, as well."""
    genotype = space.genotype(draw, name.replace(", ", "_").replace(" ", "_"))
    gmacs = SpaceCosts(space, lab.classes()).of(draw)
    text = f"{name}: {1e3 * gmacs:.2f} M multiply-adds"
    if asked.train:
        text += f", top-1 {lab.train(genotype, lab.settings, asked.train):.1%}"
    print(text, flush=True)


if __name__ == "__main__":
    run(main)
