r"""Stage `train`: one network, from scratch or from given weights. One process a GPU.

python -m autox3d.runtime.launch train --genotype results/genotypes/s.yaml \
    --clips data/clips.parquet --weights data/weights/s --curve results/train/s.csv \
    --made results/train/s_made.json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch

from autox3d.core import atomic, settings, tables
from autox3d.core.errors import Refused
from autox3d.runtime import provenance, tracking
from autox3d.runtime.checkpoint import Checkpoints, fingerprint, folder
from autox3d.runtime.distributed import World, join
from autox3d.runtime.program import paths, run
from autox3d.runtime.resumable import heeding, newest, resumable, save
from autox3d.training.loop import NotFinite, Recipe, State, fit
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.augment import chunk_count, chunks
from autox3d.vision.clips.loader import Batch, epoch_order, epoch_shape, eval_views, train_batches
from autox3d.vision.clips.store import Clips
from autox3d.vision.learning.schedule import cosine, scaled_rate, sgd
from autox3d.vision.learning.scoring import scores
from autox3d.vision.learning.statistics import settle
from autox3d.vision.models import weights
from autox3d.vision.models.network import VideoNet, open_branches
from autox3d.vision.tasks.metrics import accuracy

SCRATCH = "params/scratch"  # as `init`: weights start at random


def main() -> None:
    """The settings are the section of params.yaml that the genotype's file is named after."""
    files = paths(__doc__, "genotype", "clips", "weights", "curve", "made")
    params = settings.named(settings.load().train, "train", files.genotype.stem)
    genotype = Genotype.load(files.genotype)
    parts = {"params": params, "genotype": genotype, "clips": files.clips, **given(params)}
    with (
        join() as world,
        Checkpoints(folder("train", **parts), writes=world.rank == 0) as kept,
        tracking.run(
            "train",
            files.genotype.stem,
            asdict(params),
            {"data": fingerprint(clips=files.clips)},
            resume=kept.folder / "mlflow-run",
        ) as mirror,
    ):
        train = Training(files, params, genotype, world)
        if found := newest(kept, world):
            train.resume(found)
        train.go(kept, mirror)
        if world.rank == 0:
            train.write(files)
            for path in (files.genotype, files.curve, files.made):
                mirror.artifact(path)
            mirror.model(files.weights)


class Training:
    """The parts of one training run, and its straight line: `autox3d.runtime.resumable.Work`."""

    def __init__(
        self, files: SimpleNamespace, params: settings.Train, genotype: Genotype, world: World
    ) -> None:
        self.params, self.genotype, self.world = params, genotype, world
        self.clips = Clips.load(files.clips, split="train")
        self.held_out = held_out(files.clips)
        self.seconds, self.began = 0.0, time.monotonic()
        steps, batch = epoch_shape(len(self.clips), params.batch)
        self.recipe = Recipe(
            seed=params.seed,
            epochs=params.epochs,
            steps=steps,
            warmup=params.warmup * steps,
            peak=scaled_rate(params.lr, batch),
            batch=batch,
            chunk=params.bn_clips,
        )
        torch.manual_seed(params.seed)
        net = VideoNet(
            genotype,
            len(self.clips.classes),
            params.dropout,
            params.bn_clips,
            params.drop_connect,
        )
        open_branches(net, params.branch_gamma)
        for source in given(params).values():
            left_out = weights.initialise(net, source)
            if left_out and world.rank == 0:
                print(f"{source}: starting anew: {', '.join(left_out)}", file=sys.stderr)
        net = net.to(world.device)
        self.state = State(net, sgd(net, params.momentum, params.weight_decay))

    def resume(self, saved: dict) -> None:
        """Goes on where a checkpoint stands."""
        self.seconds = saved["seconds"]
        self.state.load_state_dict(saved["state"])

    def go(self, kept: Checkpoints, mirror: tracking.Run) -> None:
        """Every step from where the state stands; each epoch measured and logged."""
        if self.ends_epoch() and not self._measured():  # it was told to stop meanwhile
            self._end_epoch(kept, mirror)
            save(self, kept)
        steps = fit(self.state, self.recipe, self._batches, self.world)
        left = self.recipe.epochs * self.recipe.steps - self._done()
        for _ in resumable(self, steps, left, f"train {self.genotype.name}", kept):
            if self.ends_epoch():
                self._end_epoch(kept, mirror)

    @property
    def net(self) -> torch.nn.Module:
        return self.state.net

    def saved(self) -> tuple[int, dict[str, Any]]:
        """Steps done, and the whole state."""
        seconds = self.seconds + time.monotonic() - self.began
        return self._done(), {"state": self.state.state_dict(), "seconds": seconds}

    def ends_epoch(self) -> bool:
        """Whether all steps of the epoch are done."""
        return self.state.step == self.recipe.steps

    def is_best(self) -> bool:
        """Whether the epoch just measured beats all others on the validation clips."""
        if not (self.held_out and self.ends_epoch() and self._measured()):
            return False
        *before, now = (row["val_top1"] for row in self.state.history)
        return now > max(before, default=-1.0)

    def clips_of(self, error: FloatingPointError, *, done: bool) -> list[str]:
        """Keys of a step's clips, or of those chunks that the error blames."""
        epoch, step = self.state.epoch, self.state.step - done
        seed, repeats = self.params.seed, self.params.sampling.repeats
        order = epoch_order(len(self.clips), self.recipe.batch, seed, epoch, repeats)[step]
        size = self.recipe.chunk
        blamed = error.chunks if isinstance(error, NotFinite) else []
        rows = [row for c in blamed for row in order[c * size : (c + 1) * size]] or order
        return [key.decode() for key in self.clips.keys[rows].tolist()]

    def write(self, files: SimpleNamespace) -> None:
        """The outputs of the stage."""
        sources = {"data": files.clips, **given(self.params)}
        digests = {name: fingerprint(clips=path) for name, path in sources.items()}
        how = {**digests, "params": asdict(self.params)}
        net = self.state.net
        assert isinstance(net, VideoNet)
        last = self.state.history[-1]
        metrics = {"train_top1": last["top1"], "val_top1": last.get("val_top1")}
        weights.save(files.weights, net, self.genotype, list(self.clips.classes), how, metrics)
        history = pd.DataFrame(self.state.history)
        atomic.write_text(files.curve, history.to_csv(index=False, lineterminator="\n"))
        seconds = self.seconds + time.monotonic() - self.began
        provenance.write(
            files.made, seconds, self.world.device, self.world.size, seed=self.params.seed
        )

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        clip = self.genotype.input
        return train_batches(
            self.clips,
            self.params.sampling,
            clip.frames,
            clip.stride,
            clip.crop,
            seed=self.params.seed,
            epoch=epoch,
            batch=self.recipe.batch,
            chunk=self.recipe.chunk,
            world=(self.world.rank, self.world.size),
            start=start,
        )

    def _measured(self) -> bool:
        """Whether the history has the current epoch."""
        return len(self.state.history) > self.state.epoch

    def _end_epoch(self, kept: Checkpoints, mirror: tracking.Run) -> None:
        clips = self.recipe.steps * self.recipe.batch
        if self.state.epoch == self.recipe.epochs - 1 and self.params.bn_steps:
            self._settle(kept)
        row = {
            "epoch": self.state.epoch + 1,
            "lr": self._rate(),
            "loss": self.state.sums[0] / clips,
            "top1": self.state.sums[1] / clips,
        }
        if self.held_out:
            row["val_top1"] = self._validate(self.held_out, kept)
        self.state.history.append(row)
        mirror.log(row["epoch"], {k: v for k, v in row.items() if k != "epoch"})

    def _rate(self) -> float:
        """Of the last step."""
        steps = self.recipe.epochs * self.recipe.steps
        return cosine(self._done() - 1, steps, self.recipe.warmup, self.recipe.peak)

    def _settle(self, kept: Checkpoints) -> None:
        """Batch norm's statistics for evaluation, from clips in an order of their own."""
        count = min(self.params.bn_steps, self.recipe.steps)
        batches = heeding(self._batches(self.recipe.epochs, 0), count, self, kept)
        steps = (chunks(batch, self.recipe.chunk, self.world.device) for batch in batches)
        settle(self.net, steps, chunk_count(self.recipe.batch, self.recipe.chunk), self.world.sum_)

    def _validate(self, clips: Clips, kept: Checkpoints) -> float:
        """Top-1 from one centre clip a video, running statistics as they stand."""
        clip = self.genotype.input
        videos = eval_views(
            clips,
            [1],
            "ends",
            clip.frames,
            clip.stride,
            clip.short,
            clip.crop,
            sampling=self.params.sampling.rule,
            crops=["center"],
            world=(self.world.rank, self.world.size),
        )
        rounds = -(-len(clips) // self.world.size)
        rows = [
            (video.row, scores(self.net, video.clips, 1, self.world.device)[0])
            for video in heeding(videos, rounds, self, kept)
        ]
        every = dict(row for part in self.world.gather(rows) for row in part)
        found = torch.stack([every[row] for row in range(len(clips))])
        return accuracy(found.numpy(), clips.labels).top1

    def _done(self) -> int:
        return self.state.epoch * self.recipe.steps + self.state.step


def given(params: settings.Train) -> dict[str, Path]:
    """The folder of weights to start from, as `init`; none where they start at random.

    Raises:
        Refused: there is no such folder.
    """
    if params.init == SCRATCH:
        return {}
    source = Path(params.init)
    if not source.is_dir():
        raise Refused(f"params.yaml: no folder of weights: {source}. Make it, or name {SCRATCH}.")
    return {"init": source}


def held_out(path: Path) -> Clips | None:
    """The validation clips, if there are any with a label."""
    if "val" not in set(tables.read_table(path, ["split"])["split"]):
        return None
    clips = Clips.load(path, split="val")
    return clips if (clips.labels >= 0).any() else None


if __name__ == "__main__":
    run(main)
