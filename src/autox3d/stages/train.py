r"""Stage `train`: trains one network, from scratch or from weights. One process per GPU.

python -m autox3d.runtime.launch train --network s --genotype results/genotypes/s.yaml \
    --clips data/clips.parquet --weights data/weights/s --curve results/train/s.csv \
    --made results/train/s_made.json
"""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

from autox3d.core import settings
from autox3d.core.curves import Curve
from autox3d.core.settings import Train
from autox3d.runtime import provenance
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.program import arguments, run
from autox3d.runtime.session import Session, session
from autox3d.training.announcement import announce, compared_by
from autox3d.training.run import TrainingClips, TrainingResult, given, train
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import weights


def main() -> None:
    """Uses the entry of `train` with the network's name."""
    files = arguments(__doc__, "genotype", "clips", "weights", "curve", "made", words=["network"])
    params, genotype = settings.load(), Genotype.load(files.genotype)
    recipe = settings.named(params.train, "train", files.network)
    parts = {"params": recipe, "genotype": genotype, "clips": files.clips, **given(recipe)}
    shown = {"params": asdict(recipe), "data": files.clips, "table": params.device.table}
    with session("train", files.network, parts=parts, **shown) as work:
        clips = TrainingClips.load(files.clips)
        work.mirror.params(compared_by(genotype, len(clips.train.classes)))
        announce(genotype, clips.train, recipe, work.world)
        result = train(genotype, clips, recipe, work)
        if work.writes:
            write(files, result, recipe, work)


def write(files: SimpleNamespace, result: TrainingResult, recipe: Train, work: Session) -> None:
    """Writes the outputs of the stage, and logs them to MLflow."""
    sources = {"data": files.clips, **given(recipe)}
    how = {name: fingerprint(clips=path) for name, path in sources.items()}
    how |= {"params": asdict(recipe)}
    known = (result.classes, how, result.metrics)
    weights.save(files.weights, result.net, result.genotype, *known, task=result.task)
    Curve.of(result.history).write(files.curve)
    device, size = work.world.device, work.world.size
    times = {"seconds": result.seconds, "data_wait": result.data_wait, "kernels": result.kernels}
    provenance.measured(device=device, processes=size, seed=recipe.seed, **times).write(files.made)
    for path in (files.genotype, files.curve, files.made):
        work.mirror.artifact(path)
    work.mirror.model(files.weights, fingerprint(w=files.weights))


if __name__ == "__main__":
    run(main)
