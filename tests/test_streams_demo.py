"""The demo of two streams: both learn what neither sees alone, and its search finds both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench import streams as bench
from support import ROOT
from support.demo_clips import made

from autox3d.core import settings, tables
from autox3d.datasets import demo_streams, subset
from autox3d.runtime.session import session
from autox3d.search.files import save_weights
from autox3d.search.parts import opened
from autox3d.search.run import SearchClips, SearchRecipe, search, warm_up
from autox3d.search.space import Space
from autox3d.vision.arch.fusions import SKIP
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.clips.store import Clips

DEMO = ROOT / "params/demo_streams.yaml"
HAND = ROOT / "bench/two_streams_thin.yaml"  # the network made by hand


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_both_streams_see_both_kinds_and_neither_does_alone(tmp_path, monkeypatch):
    """Top-1 within a kind, of which a guess has a quarter; one seed of the three of docs/LOG.md."""
    monkeypatch.chdir(tmp_path)
    params = settings.load(DEMO)
    clips = Clips.load(made(tmp_path, params, demo_streams.prepare), split="test")
    names = [clips.classes[int(label)] for label in clips.labels[np.argsort(clips.keys)]]
    still = np.array([name.startswith(bench.STILL) for name in names])
    networks = bench.alone(Genotype.load(HAND))
    found: dict[str, tuple[float, float]] = {}
    for name in ("sparse", "dense", "both"):
        tests = replace(params.evaluate, crops=1)
        right = bench.answers(networks[name], params.train["s"], bench.TABLE, tests)
        found[name] = right[still].mean(), right[~still].mean()
    print(found)

    (wide_still, wide_motion), (thin_still, thin_motion) = found["sparse"], found["dense"]
    assert min(found["both"]) > 0.8
    assert wide_motion < 0.4 < 0.8 < wide_still
    assert thin_still < 0.4 < 0.8 < thin_motion


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_search_gives_the_dense_stream_kernels_over_time_and_fuses_it(tmp_path, monkeypatch):
    """The last part of the demo's search, on the sparse stream of the network made by hand."""
    monkeypatch.chdir(tmp_path)
    params = settings.load(DEMO)
    clips, parts = made(tmp_path, params, demo_streams.prepare), params.parts
    names = tables.read_classes(clips)
    chosen, kept = subset.choose(tables.read_table(clips), names, params.subset, tmp_path)
    tables.write_table(chosen, table := tmp_path / "data/subset.parquet", kept)
    sparse = bench.alone(Genotype.load(HAND))["sparse"]
    space = opened(Space.load(ROOT / str(parts.space)), "dense", parts.open["dense"], sparse)

    recipe, halves = SearchRecipe.of(params), SearchClips.load(table)
    shown = {"params": {}, "data": table, "tracked": False}
    with session("streams", "warmup", parts={"space": space}, **shown) as work:
        warm = warm_up(space, halves, recipe, work)
        save_weights(tmp_path / "warm.safetensors", warm.state)
    with session("streams", "search", parts={"space": space}, **shown) as work:
        found = search(space, halves, recipe, work, init=tmp_path / "warm.safetensors")

    sure = dict(zip(space.choices, found.state.prior.probabilities(), strict=True))
    over_time = [sure[one][1] for one in sure if one.candidates == ("t1_s3", "t3_s3")]
    skipped = [sure[one][one.candidates.index(SKIP)] for one in sure if one.column == "fuse"]
    print(over_time, skipped)
    assert len(over_time) == len(skipped) == 4
    assert np.mean(over_time) > 0.6  # 0.5 before the search
    assert sum(share > 0.5 for share in over_time) >= 3
    assert np.mean(skipped) < 0.25  # as before the search
    assert max(skipped) < 0.4
