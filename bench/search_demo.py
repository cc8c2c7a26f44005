r"""The search on several seeds, each beside its null control, and how far the seeds agree.

    python bench/search_demo.py --seeds 1 2 3 --clips data/subset.parquet --shards data/shards

Runs the programs of the stages warmup and search with params.yaml as it is, but for the seed and
the null control, each in a folder of its own under --out; what is there already is taken as it is.
The claim: where the label is in time alone, some group's kernels turn temporal (t3, t5) with
probability 0.9 or more; with the labels of alpha's half shuffled, none do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

WARM = "--weights {warm}/warmup.safetensors --curve {warm}/warmup.csv --made {warm}/made.json"
SEARCH = (
    "--init {warm}/warmup.safetensors --weights {out}/search.safetensors --alpha {out}/alpha.json "
    "--steps {out}/steps.parquet --trace {out}/trace.csv --made {out}/made.json"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--clips", type=Path, default=Path("data/subset.parquet"))
    parser.add_argument("--shards", type=Path, default=Path("data/shards"))
    parser.add_argument("--out", type=Path, default=Path("out/search_demo"))
    asked = parser.parse_args()
    found = {
        (seed, null): search(asked, seed, null) for seed in asked.seeds for null in (False, True)
    }
    for (seed, null), choices in found.items():
        print(f"seed {seed}, {'null control' if null else 'search':<12}  {told(choices)}")
    real = [modes(found[seed, False]) for seed in asked.seeds]
    print(f"choices on which two seeds agree: {agreement(real):.0%} on average")


def search(asked: argparse.Namespace, seed: int, null: bool) -> list[dict[str, Any]]:
    """The choices of alpha.json after one run; the warm-up is shared with the null control."""
    warm = (asked.out / f"seed{seed}").resolve()
    out = warm / ("null" if null else "real")
    if not (out / "alpha.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        params = yaml.safe_load(Path("params.yaml").read_text())
        params["supernet"] |= {
            "seed": seed,
            "space": str(Path(params["supernet"]["space"]).resolve()),
        }
        params["search"]["null_control"] = null
        (out / "params.yaml").write_text(yaml.safe_dump(params))
        common = f"--space {params['supernet']['space']} --clips {asked.clips.resolve()} "
        if not (warm / "warmup.safetensors").exists():
            launch("warmup", common + WARM.format(warm=warm), out, asked.shards)
        launch("search", common + SEARCH.format(warm=warm, out=out), out, asked.shards)
    return json.loads((out / "alpha.json").read_text())["choices"]


def launch(stage: str, flags: str, folder: Path, shards: Path) -> None:
    """One stage's program, in a folder that has its params.yaml."""
    command = [sys.executable, "-m", "autox3d.run.launch", stage, *flags.split()]
    settings = {"AUTOX3D_SHARDS": str(shards.resolve()), "AUTOX3D_TRACKING": "off"}
    subprocess.run(command, cwd=folder, env=os.environ | settings, check=True)


def told(choices: list[dict[str, Any]]) -> str:
    """The probability of temporal kernels in each group."""
    shares = [
        sum(
            probability
            for kernel, probability in zip(
                choice["candidates"], choice["probabilities"][-1], strict=True
            )
            if not kernel.startswith("t1")
        )
        for choice in choices
        if choice["column"] == "kernel"
    ]
    return "P(temporal) by group: " + " ".join(f"{share:.3f}" for share in shares)


def modes(choices: list[dict[str, Any]]) -> list[int]:
    """The most probable candidate of each choice that is open."""
    return [
        max(range(len(row)), key=row.__getitem__)
        for row in (choice["probabilities"][-1] for choice in choices)
        if len(row) > 1
    ]


def agreement(found: list[list[int]]) -> float:
    """Share of the choices that two seeds take alike, mean over the pairs of seeds."""
    shares = [
        sum(one == two for one, two in zip(first, second, strict=True)) / len(first)
        for first, second in itertools.combinations(found, 2)
    ]
    return sum(shares) / len(shares) if shares else 1.0


if __name__ == "__main__":
    main()
