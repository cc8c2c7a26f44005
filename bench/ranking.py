r"""How far to trust a search: does the supernet rank networks as training from scratch does?

    python bench/ranking.py --draws 8 --settings s

Draws networks at random, takes each one's top-1 on the validation videos with the supernet's
weights after calibration, and after training it alone by the stage `train` with the settings of
`train.s`; prints both and Kendall's tau between them (1: the same order, 0: none).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
import yaml

from autox3d import config
from autox3d.run.distributed import join
from autox3d.search.prior import Prior
from autox3d.space import Space, SpaceCosts
from autox3d.stages.derive import calibrated, load_supernet, rank
from autox3d.video.store import Clips


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settings", default="s", help="section of `train` in params.yaml")
    parser.add_argument("--clips", type=Path, default=Path("data/subset.parquet"))
    parser.add_argument("--weights", type=Path, default=Path("data/supernet/search.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("out/ranking"))
    asked = parser.parse_args()
    shared, derive = config.load("supernet", config.Supernet), config.load("derive", config.Derive)
    space = Space.load(Path(shared.space))
    val = Clips.load(asked.clips, split="val")
    prior = Prior([len(choice.candidates) for choice in space.choices])
    draws = prior.sample(asked.draws, torch.Generator().manual_seed(asked.seed))
    with join() as world:
        supernet = load_supernet(asked.weights, space, len(val.classes), shared).to(world.device)
        train = Clips.load(asked.clips, split="train", half="weights")
        nets = calibrated(supernet, draws, train, shared, derive.calibration, world)
        by_supernet = rank(nets, val, space, shared, world)
    costs = SpaceCosts(space, len(val.classes))
    alone: list[float] = []
    print("  GMACs  supernet  alone")
    for number, (draw, top1) in enumerate(zip(draws, by_supernet, strict=True)):
        space.genotype(draw, f"net{number}").save(asked.out / f"net{number}.yaml")
        alone.append(trained(asked, f"net{number}"))
        print(f"{costs.of(draw):7.4f}  {top1:8.3f}  {alone[-1]:5.3f}", flush=True)
    print(f"Kendall's tau: {kendall(by_supernet, alone):.2f} over {asked.draws} networks")


def trained(asked: argparse.Namespace, name: str) -> float:
    """Top-1 on the validation videos after training from scratch."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["train"] = {name: params["train"][asked.settings]}
    (asked.out / "params.yaml").write_text(yaml.safe_dump(params))
    flags = f"--genotype {name}.yaml --clips {asked.clips.resolve()} --weights weights/{name} "
    flags += f"--curve {name}.csv --made {name}_made.json"
    shards = Path(os.environ.get("AUTOX3D_SHARDS", "data/shards")).resolve()
    settings = {"AUTOX3D_SHARDS": str(shards), "AUTOX3D_TRACKING": "off"}
    command = [sys.executable, "-m", "autox3d.run.launch", "train", *flags.split()]
    subprocess.run(command, cwd=asked.out, env=os.environ | settings, check=True)
    return float(pd.read_csv(asked.out / f"{name}.csv")["val_top1"].iloc[-1])


def kendall(one: list[float], two: list[float]) -> float:
    """tau-b: pairs in the same order less those in the other, ties discounted."""
    first, second = torch.tensor(one), torch.tensor(two)
    signs = [torch.sign(values[:, None] - values[None, :]) for values in (first, second)]
    norm = (signs[0].square().sum() * signs[1].square().sum()).sqrt()
    return float((signs[0] * signs[1]).sum() / norm) if norm > 0 else 0.0


if __name__ == "__main__":
    main()
