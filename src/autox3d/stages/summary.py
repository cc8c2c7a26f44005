r"""Stage `summary`: the five numbers of a network, for the tables of `dvc metrics` and `dvc exp`.

python -m autox3d.stages.summary --tested results/evaluate/s.json \
    --latency results/latency/s.json --out results/summary/s.json
"""

from __future__ import annotations

from autox3d.core.records import Latency, Summary
from autox3d.core.scores import Evaluation
from autox3d.runtime.program import arguments, run


def main() -> None:
    files = arguments(__doc__, "tested", "latency", "out")
    Summary.of(Evaluation.read(files.tested), Latency.read(files.latency)).write(files.out)


if __name__ == "__main__":
    run(main)
