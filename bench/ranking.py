r"""How far to trust a search: the found network beside random ones of its cost.

    python -m bench.ranking --draws 8

Draws networks at random from the space, within a twentieth of the found one's cost. Each has two
accuracies on the validation videos: with the supernet's weights after calibration, and trained from
scratch by the stage `train` with the settings of `train.s`. Kendall's tau between the two tells
whether the supernet ranks as training does (1: the same order, 0: none); how many random networks
the found one beats tells what the search was worth (random search: TS-S, section 5).
"""

from __future__ import annotations

import torch
from bench.trial import Lab, parser

from autox3d.core import settings
from autox3d.runtime.distributed import join
from autox3d.runtime.program import run
from autox3d.search.space import Draw, Space, SpaceCosts, within
from autox3d.stages.derive import calibrated, load_supernet, rank
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips


def main() -> None:
    flags = parser(__doc__, "out/ranking")
    flags.add_argument("--draws", type=int, default=8)
    flags.add_argument("--seed", type=int, default=1)
    flags.add_argument("--settings", default="s", help="section of `train` in params.yaml")
    flags.add_argument("--least", type=float, help="G multiply-adds, in place of a twentieth below")
    flags.add_argument("--most", type=float, help="G multiply-adds, in place of a twentieth above")
    asked = flags.parse_args()
    lab = Lab(asked.workspace, asked.out, asked.set)
    space, costs = lab.space(lab.settings), SpaceCosts(lab.space(lab.settings), lab.classes())
    found = space.draw(Genotype.load(lab.workspace / "results/derive/genotype.yaml"))
    least, most = asked.least or 0.95 * costs.of(found), asked.most or 1.05 * costs.of(found)
    random = [draw for draw in within(space, costs, least, most, asked.draws + 1, asked.seed)
              if draw != found][: asked.draws]  # fmt: skip
    draws = {"found": found} | {f"random_{n}": draw for n, draw in enumerate(random, 1)}
    by_supernet = dict(zip(draws, supernet_top1(lab, space, list(draws.values())), strict=True))
    alone: dict[str, float] = {}
    print("            GMACs  supernet  alone  network")
    for name, draw in draws.items():
        genotype = space.genotype(draw, name)
        alone[name] = lab.train(genotype, lab.settings, asked.settings)
        rows = "  ".join(f"{g.kernel} {g.expansion:g} {g.channels} {g.attention}"
                         for g in genotype.groups)  # fmt: skip
        numbers = f"{costs.of(draw):7.4f}  {by_supernet[name]:8.3f}  {alone[name]:5.3f}"
        print(f"{name:<9} {numbers}  {rows}", flush=True)
    names = [name for name in draws if name != "found"]
    tau = kendall([by_supernet[name] for name in names], [alone[name] for name in names])
    beaten = sum(alone["found"] > alone[name] for name in names)
    print(f"Kendall's tau: {tau:.2f} over {len(names)} random networks")
    print(f"the found network is better than {beaten} of them")


def supernet_top1(lab: Lab, space: Space, draws: list[Draw]) -> list[float]:
    """Of each draw as a calibrated path of the supernet, on the validation videos."""
    path = lab.workspace / "params.yaml"
    params = settings.load(path)
    shared, count = params.supernet, params.derive.calibration
    subset, shards = lab.workspace / "data/subset.parquet", lab.workspace / "data/shards"
    val = Clips.load(subset, split="val", shards=shards)
    weights = lab.workspace / "data/supernet/search.safetensors"
    with join() as world:
        supernet = load_supernet(weights, space, len(val.classes), shared).to(world.device)
        train = Clips.load(subset, split="train", half="weights", shards=shards)
        nets = calibrated(supernet, draws, train, shared, count, world)
        return rank(nets, val, space, shared, world)


def kendall(one: list[float], two: list[float]) -> float:
    """tau-b: pairs in the same order less those in the other, ties discounted."""
    first, second = torch.tensor(one), torch.tensor(two)
    signs = [torch.sign(values[:, None] - values[None, :]) for values in (first, second)]
    norm = (signs[0].square().sum() * signs[1].square().sum()).sqrt()
    return float((signs[0] * signs[1]).sum() / norm) if norm > 0 else 0.0


if __name__ == "__main__":
    run(main)
