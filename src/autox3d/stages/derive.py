r"""Stage `derive`: derives the most probable network, and ranks the next ones under the target.

python -m autox3d.runtime.launch derive --space architectures/space_demo.yaml \
    --clips data/subset.parquet --alpha results/search/alpha.json \
    --weights data/supernet/search.safetensors --genotype results/derive/genotype.yaml \
    --report results/derive/derive.json
"""

from __future__ import annotations

from autox3d.core import decided, settings
from autox3d.runtime.distributed import join
from autox3d.runtime.program import arguments, run
from autox3d.search.costs import SpaceCosts
from autox3d.search.derive import (
    load_prior,
    load_supernet,
    report,
    runners_up,
)
from autox3d.search.ranking import RankingClips, ranked
from autox3d.search.space import Space
from autox3d.search.strategy import named


def main() -> None:
    """Uses the settings `supernet` and `derive`, and the strategy and target of `search`."""
    files = arguments(__doc__, "space", "clips", "alpha", "weights", "genotype", "report")
    params = settings.load()
    shared, target = params.supernet, params.search.target
    space, clips = Space.load(files.space), RankingClips.load(files.clips)
    classes = len(clips.val.classes)
    prior, costs = load_prior(files.alpha, space), SpaceCosts(space, classes)
    chosen = named(params.search.strategy).choose(prior)
    draws = [chosen, *runners_up(prior, chosen, costs, target, params.derive.runners_up)]
    with join() as world:
        supernet = load_supernet(files.weights, space, classes, shared).to(world.device)
        found = ranked(draws, supernet, clips, shared, params.derive.calibration, world)
    if world.rank == 0:
        genotype = space.genotype(draws[0], space.name)
        genotype.save(files.genotype, f"The most probable network of {files.space.name}.")
        measured = [one.metrics for one in found]
        record = report(space, prior, costs, target, draws, measured)
        record.write(files.report)
        print(f"derive: {decided.line(record)}")


if __name__ == "__main__":
    run(main)
