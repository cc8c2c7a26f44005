r"""Stage `derive`: derives the most probable network in the budget's window, and others beside it.

python -m autox3d.runtime.launch derive --space architectures/space_demo.yaml \
    --clips data/subset.parquet --alpha results/search/alpha.json \
    --weights data/supernet/search.safetensors \
    --genotype results/derive/genotype.yaml --front results/derive/front \
    --report results/derive/derive.json
"""

from __future__ import annotations

from types import SimpleNamespace

from autox3d.core import decided, settings
from autox3d.core.search_records import Alpha
from autox3d.runtime.distributed import join
from autox3d.runtime.program import arguments, run
from autox3d.search.costs import SpaceCosts, of_budget
from autox3d.search.derive import Outcome, choose, load_prior, load_supernet, report
from autox3d.search.ranking import RankingClips, ranked
from autox3d.search.space import Space
from autox3d.search.strategy import named


def main() -> None:
    """Uses the settings `supernet`, `search` and `derive`."""
    names = ("space", "clips", "alpha", "weights", "genotype", "front", "report")
    write(arguments(__doc__, *names), settings.load())


def write(files: SimpleNamespace, params: settings.Params) -> None:
    """Derives, and writes the outputs."""
    shared, search, derive = params.supernet, params.search, params.derive
    space, clips = Space.load(files.space), RankingClips.load(files.clips)
    classes = len(clips.val.classes)
    costs = of_budget(space, classes, search)
    prior, alpha = load_prior(files.alpha, space, costs.excluded), Alpha.read(files.alpha)
    outcome = Outcome(space, alpha, prior, costs, SpaceCosts(space, classes))
    chosen = choose(outcome, named(search.strategy).choose(prior), search, derive)
    draws = chosen.draws
    with join() as world:
        net = load_supernet(files.weights, space, classes, shared).to(world.device)
        measured = ranked(draws, net, clips, shared, derive.calibration, world)
    if world.rank > 0:
        return
    derived = report(outcome, chosen, search, dict(zip(draws, measured, strict=True)))
    found = f"The most probable network of {files.space.name}"
    asked = f", {search.target:g} {costs.unit} at most" if derive.window else ""
    space.genotype(chosen.found, space.name).save(files.genotype, f"{found}{asked}.")
    files.front.mkdir(parents=True, exist_ok=True)  # also where there is nothing to put
    for budget, draw in chosen.front.items():
        asked, path = f", {budget:g} {costs.unit} at most", files.front / f"{budget:g}.yaml"
        space.genotype(draw, space.name).save(path, f"{found}{asked}.")
    derived.write(files.report)
    print(f"derive: {decided.terminal(derived, derive.runners_up)}")


if __name__ == "__main__":
    run(main)
