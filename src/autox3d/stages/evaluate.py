r"""Stage `evaluate`: scores every view of every held-out video. One process per GPU.

python -m autox3d.runtime.launch evaluate --weights data/weights/s --clips data/clips.parquet \
    --scores data/scores/s.parquet --metrics results/evaluate/s.json \
    --confusion results/evaluate/s_confusion.csv
"""

from __future__ import annotations

import shutil
from dataclasses import asdict

from autox3d.core import settings, tables
from autox3d.core.curves import write_confusion
from autox3d.evaluation.run import logged
from autox3d.evaluation.splits import held_out, scored
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.program import arguments, run
from autox3d.runtime.session import session
from autox3d.vision.models import weights


def main() -> None:
    """Every rank scores its videos; rank 0 writes."""
    files = arguments(__doc__, "weights", "clips", "scores", "metrics", "confusion")
    tests = settings.load().evaluate
    trained = weights.load(files.weights)
    clips = held_out(trained, files.weights, files.clips, tests)
    parts = {"weights": files.weights, "clips": files.clips, "evaluate": tests}
    shown = {"params": asdict(tests), "tags": {"weights": fingerprint(w=files.weights)}}
    name = trained.genotype.name
    with session("evaluate", name, parts=parts, data=files.clips, **shown) as work:
        found = scored(trained, clips, tests, files.weights, work)
        if found is None:
            return
        tables.write_table(found.views, files.scores, clips[0].classes)
        found.result.write(files.metrics)
        write_confusion(found.pairs, files.confusion)
        for step, metrics in logged(found.result).items():
            work.mirror.log(step, metrics)
        work.mirror.artifact(files.metrics)
        work.mirror.artifact(files.confusion)
    shutil.rmtree(work.kept.folder)


if __name__ == "__main__":
    run(main)
