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
from autox3d.evaluation.checks import refuse_constant, refuse_more_clips, refuse_other_labels
from autox3d.evaluation.run import every_view, logged, outcome, summarise
from autox3d.runtime.checkpoint import fingerprint
from autox3d.runtime.program import arguments, run
from autox3d.runtime.session import session
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import weights


def main() -> None:
    """Every rank scores its videos; rank 0 writes."""
    files = arguments(__doc__, "weights", "clips", "scores", "metrics", "confusion")
    tests = settings.load().evaluate
    trained = weights.load(files.weights)
    clips = Clips.load(files.clips, split=tests.split)
    refuse_other_labels(trained, clips, files.weights, files.clips)
    refuse_more_clips(clips, tests)
    parts = {"weights": files.weights, "clips": files.clips, "evaluate": tests}
    shown = {"params": asdict(tests), "tags": {"weights": fingerprint(w=files.weights)}}
    name = trained.genotype.name
    with session("evaluate", name, parts=parts, data=files.clips, **shown) as work:
        views = every_view(trained, clips, tests, work.world, work.kept.folder)
        table = views.table()
        if table is None:
            return
        tables.write_table(table, files.scores, clips.classes)
        refuse_constant(table, clips, tests, files.weights)
        result = summarise(table, trained, clips, tests)
        result.write(files.metrics)
        write_confusion(outcome(table, clips, tests), files.confusion)
        if result.labelled:
            work.mirror.log(0, logged(result))
        work.mirror.artifact(files.metrics)
        work.mirror.artifact(files.confusion)
    shutil.rmtree(work.kept.folder)


if __name__ == "__main__":
    run(main)
