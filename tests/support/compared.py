"""A run of the pipeline that was changed, for the comparison with what it was before."""

from __future__ import annotations

import json
from pathlib import Path

COMPARED = 6  # figures after `change`: five curves of training, and the classes of s


def change(root: Path) -> None:
    """A setting, a block of the genotype, a network's accuracy and one of its classes."""
    settings, found = root / "params.yaml", root / "results/derive/genotype.yaml"
    settings.write_text(settings.read_text().replace("target: 0.012", "target: 0.02"))
    found.write_text(found.read_text().replace("blocks: 1,", "blocks: 3,", 1))
    path = root / "results/evaluate/s.json"
    tested = json.loads(path.read_text())
    tested["lcr"]["top1"] = 0.5
    tested["per_class"][1]["top1"] = 0.25
    path.write_text(json.dumps(tested))
