"""What logging a step costs a stage: ours, with MLflow reachable and not, and MLflow's own call.

    python bench/tracking.py [--steps 2000] [--theirs 100]

The store is a fresh SQLite file. "Away" is an address that nothing listens on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from autox3d.runtime import tracking

METRICS = {"loss": 0.1, "top1": 0.5, "lr": 0.01}
AWAY = "http://127.0.0.1:9"


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--theirs", type=int, default=100, metavar="STEPS")
    flags = parser.parse_args()
    os.environ.pop("AUTOX3D_TRACKING", None)
    tracking.PATIENCE = 60.0  # s for a sender to end, so that it does not disturb the next
    print(f"a step of {len(METRICS)} metrics, us".ljust(40), "median    99 %     max")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, store in (("to SQLite", f"sqlite:///{folder}/ours.db"), ("away", AWAY)):
            os.environ["MLFLOW_TRACKING_URI"] = store
            with tracking.run("train", "s", {}, {}) as run:
                report(f"autox3d, MLflow {name}", run.log, flags.steps)
        report("MlflowClient.log_batch to SQLite", theirs(Path(folder)), flags.theirs)


def report(name: str, log: Callable[[int, Mapping[str, float]], object], steps: int) -> None:
    """Prints a line of the table; there is a pause between steps, as in training."""
    costs = []
    for step in range(steps):
        begin = time.perf_counter()
        log(step, METRICS)
        costs.append(1e6 * (time.perf_counter() - begin))
        time.sleep(0.001)
    median, tail, worst = np.percentile(costs, [50, 99, 100])
    print(f"{name:40} {median:6.0f} {tail:7.0f} {worst:7.0f}", flush=True)


def theirs(folder: Path) -> Callable[[int, Mapping[str, float]], object]:
    """Logs a step as a program does that calls MLflow itself."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(f"sqlite:///{folder}/theirs.db")
    run = client.create_run("0").info.run_id

    def log(step: int, metrics: Mapping[str, float]) -> None:
        now = tracking.now()
        client.log_batch(run, [Metric(name, value, now, step) for name, value in metrics.items()])

    return log


if __name__ == "__main__":
    main()
