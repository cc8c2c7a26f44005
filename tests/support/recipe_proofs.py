"""What must hold of each thing that a recipe of CONTRIBUTING.md adds; run in the scratch copy.

    python -m support.recipe_proofs NAME FOLDER [SHARED]

The working directory is `src` of the scratch copy, so that `autox3d` is the copy's. FOLDER is
empty; SHARED has clips.parquet and shards/, as support.killing makes them.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import autox3d
from autox3d.core import overrides, settings, tables
from autox3d.core.errors import Refused
from autox3d.core.scores import Evaluation
from autox3d.reporting import results, results_table
from autox3d.search.constraint import Constraint
from autox3d.search.costs import SpaceCosts
from autox3d.search.likelihood import Likelihood
from autox3d.search.loop import search_steps
from autox3d.search.prior import Prior
from autox3d.search.space import Draw, Space
from autox3d.search.state import Costs, SearchSchedule, SearchState
from autox3d.search.strategies.parsec import STRATEGY
from autox3d.search.supernet import Supernet
from autox3d.studies import kind
from autox3d.studies.lab import Lab
from autox3d.vision.arch.cost import cost
from autox3d.vision.learning.schedule import sgd
from autox3d.vision.models.fold import folded
from autox3d.vision.models.network import VideoNet, open_branches, set_training
from autox3d.vision.tasks.classify import TASK
from support import corpus, killing

COPY = Path.cwd().parent  # of the repository
CLASSES, LABELS = 5, torch.tensor([0, 1, 2, 3])


def block_type(folder: Path) -> None:
    """Counted, built, trained, searched, folded."""
    space = Space.load(COPY / "architectures/space_demo_split.yaml")
    of_space(space, new=("space", "time"))
    old = Space.load(COPY / "architectures/space_demo.yaml")
    assert old.block.type == "inverted"  # and no file had to say so


def attention_unit(folder: Path) -> None:
    """The same, after each group."""
    text = (COPY / "architectures/space_demo.yaml").read_text()
    path = folder / "space.yaml"
    path.write_text(text.replace("[none, glore]", "[none, efficient]").replace("1024", "64"))
    of_space(Space.load(path), new=("query", "extend"))


def of_space(space: Space, new: tuple[str, ...]) -> None:
    """`new`: names of the layers that the recipe adds."""
    widest = tuple(len(choice.candidates) - 1 for choice in space.choices)
    for draw in ((0,) * len(widest), widest):
        genotype = space.genotype(draw, "drawn")
        with torch.device("meta"):
            net = VideoNet(genotype, CLASSES)
        assert sum(one.numel() for one in net.parameters()) == cost(genotype, CLASSES).params
    spec = space.input
    torch.manual_seed(1)
    clips = torch.randn(4, 3, spec.frames, spec.crop, spec.crop)
    trains(VideoNet(space.genotype(widest, "drawn"), CLASSES), clips, new)
    searches(space, widest, clips, new)


def trains(net: VideoNet, clips: torch.Tensor, new: tuple[str, ...]) -> None:
    """One step moves the new layers; without its batch norms the network says the same."""
    set_training(net, bn_clips=2)
    open_branches(net, 0.5)
    before = values(net, new)
    optimiser = sgd(net, 0.9, 0.0)
    for group in optimiser.param_groups:
        group["lr"] = 0.1
    TASK.loss(net(clips), LABELS).backward()
    optimiser.step()
    moved(before, values(net, new))
    net.eval()
    with torch.inference_mode():
        torch.testing.assert_close(folded(net)(clips), net(clips), rtol=1e-3, atol=1e-4)


def searches(space: Space, widest: Draw, clips: torch.Tensor, new: tuple[str, ...]) -> None:
    """A step for weights and alpha; then a path is the network that is cut out of the supernet."""
    net = Supernet(space, CLASSES, "fair")
    set_training(net, bn_clips=2)
    open_branches(net, 0.5)
    prior = Prior([len(choice.candidates) for choice in space.choices])
    weights, costs = sgd(net, 0.9, 0.0), SpaceCosts(space, CLASSES)
    state = SearchState(net, prior, weights, torch.optim.Adam(prior.parameters()))
    before = values(net, new)
    schedule = SearchSchedule(
        seed=1,
        until=1,
        steps=1,
        batch=4,
        chunk=4,
        draws=2,
        alpha_draws=2,
        shared=False,
        strategy=STRATEGY,
        likelihood=Likelihood("sum", 1.0),
        constraint=Constraint("log", 0.1, None, costs.of(widest)),
        costs=Costs(costs, costs),
        rate=lambda step: 0.1,
    )
    batches = lambda epoch, step: [[(0, clips, LABELS)]]  # noqa: E731
    (step,) = search_steps(state, TASK, schedule, batches, batches, lambda tensors: None)
    assert step.loss == step.loss > 0
    moved(before, values(net, new))
    path = net.network(widest).train()
    with torch.no_grad():
        assert torch.equal(path(clips), net(clips, widest))


def values(net: torch.nn.Module, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The weights of the layers with one of these names."""
    found = {
        name: weight.detach().clone()
        for name, weight in net.named_parameters()
        if set(names) & set(name.split("."))
    }
    assert found
    return found


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> None:
    """Most have; in a search some candidates were not drawn."""
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) > len(before) / 4, changed


def data_set(folder: Path) -> None:
    """Listed by the stage from a folder of real videos; a wrong label is refused by its place."""
    videos = folder / "raw/moments"
    for name in ("barking/a", "barking/b", "baking/c"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        corpus.ffmpeg(*corpus.SOURCE, *corpus.H264, seconds=0.2, to=videos / f"{name}.mp4")
    lists = {
        "classes": "baking,3\nbarking,17\n",
        "train": "barking/a.mp4,barking,3,1\nbaking/c.mp4,baking,4,0\n",
        "val": "barking/b.mp4,barking,3,0\nbaking/d.mp4,baking,3,0\n",
    }
    for name, content in lists.items():
        (folder / f"raw/{name}.csv").write_text(content)
    files = {name: f"{name}.csv" for name in lists}
    asked = {"dataset": "moments", "videos": "moments", "files": files}
    configure(folder, annotate=asked, subset={"classes": 2})
    os.environ["AUTOX3D_RAW"] = str(folder / "raw")
    program("annotate", "--videos videos.parquet --lists lists")
    rows = tables.read_table(folder / "videos.parquet").set_index("video")
    assert tables.read_classes(folder / "videos.parquet") == ("baking", "barking")
    assert rows["status"].to_dict() == {
        "barking/a.mp4": "listed",
        "baking/c.mp4": "listed",
        "barking/b.mp4": "listed",
        "baking/d.mp4": "missing",
    }
    assert rows.loc["barking/a.mp4", "label"] == "barking"
    (folder / "raw/val.csv").write_text("barking/b.mp4,baking,3,0\nbarking/c.mp4,barkin,3,0\n")
    with pytest.raises(Refused, match=r"val.csv line 2: unknown class 'barkin'\. Did you mean"):
        program("annotate", "--videos videos.parquet --lists lists")


def task(folder: Path, shared: Path) -> None:
    """Trained for a step, evaluated, and shown by the report; all under the task's own names."""
    lay_out(folder, shared)
    name_task(shared / "clips.parquet", folder / "clips.parquet", "ordered")
    training = {"epochs": 1, "warmup": 0, "batch": 16, "bn_steps": 1}
    params = configure(folder, evaluate={"split": "val", "clips": [1], "batch": 8})
    params["train"]["s"] |= training
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    program("train", killing.FLAGS["train"])
    head, row = (folder / "curve.csv").read_text().splitlines()
    assert head.split(",") == ["epoch", "lr", "loss", "near", "val_near"]
    assert 0 < float(row.split(",")[2]) < 30
    out = "--metrics results/evaluate/s.json --confusion results/evaluate/s_confusion.csv"
    program("evaluate", f"--weights weights --clips clips.parquet --scores scores.parquet {out}")
    record = Evaluation.read(folder / "results/evaluate/s.json")
    assert record.task == "ordered"
    assert set(record.headline.metrics) == {"near", "exact"}
    read = results.read(folder / "results", results.settings_of(folder / "params.yaml"))
    assert [one.name for one in read.tested] == ["s"]
    shown = results_table.markdown(read)
    assert "off by one at most, %" in shown
    assert "top-1" not in shown


def search_strategy(folder: Path, shared: Path) -> None:
    """Two steps of the stage, by the strategy that params.yaml names."""
    lay_out(folder, shared)
    params = configure(folder, warmup={"epochs": 0})
    params["search"] |= {"strategy": "best_up", "epochs": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for stage in ("warmup", "search"):
        program(stage, killing.FLAGS[stage])
    steps = tables.read_table(folder / "steps.parquet")
    assert len(steps) == 2
    assert (steps["effective_draws"] == 1).all()  # of the draws of a chunk one counts


def study(folder: Path, shared: Path, asked: str) -> None:
    """A row for each value; `asked` is the recipe's entry of params.yaml."""
    lay_out(folder, shared)
    assert "draws" in kind.names()
    studies = yaml.safe_load(asked)
    studies["draws"] |= {"space": "space.yaml", "values": [2.0, 3.0]}
    params = configure(folder, warmup={"epochs": 0}, studies=studies)
    params["search"]["epochs"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    whole = overrides.for_study(settings.load(), "draws")
    space, clips = Space.load(folder / "space.yaml"), folder / "clips.parquet"
    lab = Lab("draws", whole, space, clips, clips, folder / "out", tracked=False)
    record = kind.kind_of(whole, "draws").run(lab, whole.studies["draws"])
    assert [row.name for row in record.rows] == ["K = 2", "K = 3"]
    assert set(lab.made) == {"warmup", "draws2", "draws3"}


def command(folder: Path, shared: Path) -> None:
    """Counts the clips of a real table."""
    from autox3d import cli

    sys.argv = ["autox3d", "clips", str(shared / "clips.parquet")]
    cli.main()


def helps(folder: Path) -> None:
    """`autox3d clips --help`."""
    from autox3d import cli

    sys.argv = ["autox3d", "clips", "--help"]
    cli.main()


def lay_out(folder: Path, shared: Path) -> None:
    """Clips, small settings and a small space in the working directory, which is `folder` then."""
    killing.lay_out(shared, folder)
    os.chdir(folder)


def configure(folder: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """params.yaml in `folder`, which becomes the working directory; some settings changed."""
    path = folder / "params.yaml"
    params = yaml.safe_load((path if path.exists() else COPY / "params.yaml").read_text())
    for name, changed in sections.items():
        params[name] = params.get(name, {}) | changed
    path.write_text(yaml.safe_dump(params))
    os.chdir(folder)
    return params


def name_task(source: Path, target: Path, name: str) -> None:
    """A copy of a table of clips whose labels are for another task."""
    target.unlink()
    rows, classes = tables.read_table(source), tables.read_classes(source)
    tables.write_table(rows, target, classes, name)


def program(stage: str, flags: str) -> None:
    """A stage with its arguments, as `python -m` would start it."""
    sys.argv = [stage, *flags.split()]
    importlib.import_module(f"autox3d.stages.{stage}").main()


if __name__ == "__main__":
    assert Path(autox3d.__file__).is_relative_to(COPY)
    name, folder, *more = sys.argv[1:]
    given = [Path(word) if word.startswith("/") else word for word in more]
    globals()[name](Path(folder), *given)
