r"""Stage `study`: runs searches and trainings that differ in one thing. One process per GPU.

python -m autox3d.runtime.launch study --name beta --space architectures/space_demo.yaml \
    --subset data/subset.parquet --clips data/clips.parquet \
    --init data/supernet/warmup.safetensors --out data/studies/beta \
    --record results/studies/beta.json --made results/studies/beta_made.json
"""

from __future__ import annotations

from pathlib import Path

from autox3d.core import overrides, settings
from autox3d.core.search_records import StudyProvenance
from autox3d.runtime.distributed import join
from autox3d.runtime.program import arguments, run
from autox3d.search.run import SearchRecipe
from autox3d.search.space import Space
from autox3d.studies.kind import kind_of
from autox3d.studies.lab import Lab, Ready


def main() -> None:
    """Uses the entry of `studies` with the study's name, and all settings that it can override."""
    names = ("space", "subset", "clips", "init", "out", "record", "made")
    files, whole = arguments(__doc__, *names, words=["name"]), settings.load()
    params, space = overrides.for_study(whole, files.name), Space.load(files.space)
    kind = kind_of(params, files.name)
    same = files.space == Path(whole.supernet.space)
    ready = Ready(files.init, SearchRecipe.of(whole)) if same else None
    lab = Lab(files.name, params, space, files.subset, files.clips, files.out, ready)
    with join() as world:
        result = kind.run(lab, params.studies[files.name])
        if world.rank == 0:
            result.write(files.record)
            StudyProvenance(runs=lab.made).write(files.made)


if __name__ == "__main__":
    run(main)
