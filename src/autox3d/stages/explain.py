r"""Stage `explain`: makes heat maps for a few clips and for the most confused classes.

python -m autox3d.stages.explain --weights data/weights/s --clips data/clips.parquet \
    --scores data/scores/s.parquet --out results/explain/s.json
"""

from __future__ import annotations

from autox3d.core import settings
from autox3d.evaluation.splits import main_views
from autox3d.explaining.run import explanation
from autox3d.runtime.program import arguments, run
from autox3d.vision.clips.store import Clips
from autox3d.vision.models import weights


def main() -> None:
    """Uses the settings `explain`, and the split and views of `evaluate`."""
    files = arguments(__doc__, "weights", "clips", "scores", "out")
    params = settings.load()
    trained = weights.load(files.weights)
    clips = Clips.load(files.clips, split=params.evaluate.split)
    table = main_views(files.scores, files.clips, clips, params.evaluate)
    explanation(trained, clips, table, params.evaluate, params.explain).write(files.out)


if __name__ == "__main__":
    run(main)
