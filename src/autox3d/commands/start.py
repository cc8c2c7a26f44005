"""The commands that begin with a user's own videos: start and finetune."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from autox3d.commands.parser import Commands
from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.core.tables import CLASSIFY, DETECT, MULTILABEL
from autox3d.core.values import MARGIN

if TYPE_CHECKING:  # importing torch is slow
    from autox3d.planning.own_lists import OwnVideo
    from autox3d.planning.own_videos import Looks
    from autox3d.planning.plan import Videos
    from autox3d.planning.recipe import Asked, Device

UNEVEN = 5  # times as many videos as the rarest class
FEW = 5  # held-out videos of a class, below which a share says little
QUICK = 1.0  # s of measuring for each rate
FOLDER = Path("params/folder.yaml")  # complete settings, which are the base of the user's
FROM_SCRATCH, TUNED = "x3d", "tuned"  # names of the networks that are trained


def add_to(commands: Commands) -> None:
    """Adds the commands start and finetune."""
    one = commands.add("start", start, "autox3d start ~/clips")
    _add_folder(one)
    one.add_argument("--budget", type=number, metavar="GMACS", help="search for such a network")
    two = commands.add("finetune", finetune, "autox3d finetune weights/x3d_s ~/clips")
    two.add_argument("weights", type=Path, help="a folder of weights to start from")
    _add_folder(two)


def _add_folder(one: argparse.ArgumentParser) -> None:
    what = "a folder with a folder of videos for each class, or a CSV file with path and label"
    one.add_argument("folder", type=Path, metavar="DIR", help=what)
    one.add_argument(
        "--task",
        help=f"{CLASSIFY}: one label a video; {MULTILABEL}: several; {DETECT}: a row is a box. "
        "Default: as the list has it",
    )
    one.add_argument(
        "--groups",
        metavar="PATTERN",
        help="regular expression that finds the recording in a video's name; videos of one "
        "recording stay in one split. Default: the name up to its last number",
    )
    one.add_argument("--minutes", type=number, help="that it may take; default: by the device")


def number(text: str) -> float:
    """Parses a number greater than 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number greater than 0, not '{text}'")
    return value


def start(args: argparse.Namespace) -> None:
    """Look at a folder of your videos, and write the settings that train a network on them."""
    _prepare(args, budget=args.budget, given=None, network=FROM_SCRATCH)


def finetune(args: argparse.Namespace) -> None:
    """Write the settings that train a given network further, on a folder of your videos."""
    from autox3d.planning import workspace
    from autox3d.vision.models import weights

    workspace.check()
    if not (args.weights / weights.WEIGHTS).is_file():
        raise Refused(
            f"{args.weights}: no folder of weights: it has no {weights.WEIGHTS}. Give one that a "
            "training wrote, such as data/weights/x3d, or `autox3d import-weights`."
        )
    weights.load(args.weights)
    _prepare(args, budget=None, given=args.weights, network=TUNED)


def _prepare(
    args: argparse.Namespace, budget: float | None, given: Path | None, network: str
) -> None:
    """Looks at everything first, and only then writes."""
    from autox3d.planning import own_lists, own_videos, recipe, splitting, workspace
    from autox3d.runtime.progress import progress

    workspace.check()
    _refuse_task(args)
    top = own_videos.top_of(args.folder)
    target, below = workspace.data_root(top)
    videos, remarks = own_videos.listed(args.folder, args.task)
    boxed = any(video.boxes is not None for video in videos)
    if boxed and budget:
        raise Refused("--budget: a search does not ask about boxes. Leave it out.")
    grouped, how = own_videos.grouped(videos, args.groups)
    found, leaks = splitting.split(args.folder, grouped, own_videos.same_content(top, grouped))
    looks = own_videos.looks(top, found, partial(progress, what="look", unit="videos"))
    size = _counted(args.folder, found, looks)
    listing, known = workspace.list_for(found, target)
    asked = recipe.Asked(
        root=top.resolve(),
        videos=below,
        listing=f"./{listing}",
        classes=sorted({name for video in found for name in video.names}),
        split="val" if size.val else "test",
        budget=budget,
        minutes=args.minutes,
        given=workspace.given_weights(given) if given else None,
        network=network,
        several=not boxed and any(video.labels is not None for video in found),
        boxed=boxed,
        action=own_lists.action(found),
    )
    device = _device()
    text, why, end = _settings(asked, looks, device, size)
    lines = [*_data_lines(size, found, looks, how), *remarks, *leaks]
    lines += why
    if boxed:
        lines.append("a test asks for your own boxes; for those of a detector see docs/BOXES.md")
    workspace.write_list(listing, found)
    lines += [] if known else workspace.set_results_apart()
    lines += [*workspace.link(target), *workspace.write_settings(text)]
    lines.append(f"wrote params.yaml and {listing}, which has the split of each video")
    print("\n".join(lines))
    print(f"{end}\n\n    dvc repro{'' if budget else f' page@{network}'}\n")


def _refuse_task(args: argparse.Namespace) -> None:
    """Refuses a task that is unknown, or that folders of classes cannot have."""
    if args.task not in (None, CLASSIFY, MULTILABEL, DETECT):
        raise Refused(
            f"--task {args.task}: only {CLASSIFY}, {MULTILABEL} and {DETECT} are known here. "
            "Leave --task out."
        )
    if args.task in (MULTILABEL, DETECT) and args.folder.is_dir():
        what = "labels" if args.task == MULTILABEL else "boxes"
        raise Refused(
            f"--task {args.task}: {args.folder} has a folder for each class, so one label a "
            f"video. Give a CSV file with path and {what}."
        )


def _counted(folder: Path, videos: Sequence[OwnVideo], looks: Looks) -> Videos:
    """The size of the data set.

    Raises:
        Refused: a class has no video to train on, or nothing is held out.
    """
    from autox3d.planning.plan import Videos

    counts = Counter(video.split for video in videos)
    trained = {name for video in videos if video.split == "train" for name in video.names}
    classes = {name for video in videos for name in video.names}
    if missing := sorted(classes - trained):
        raise Refused(f"{folder}: no training video of class '{missing[0]}'. Add one to 'train'.")
    if not counts["val"] + counts["test"]:
        raise Refused(f"{folder}: all videos are in split 'train'. Put some into 'val'.")
    if videos[0].boxes is not None:
        return _moments(videos, len(classes), looks)
    return Videos(counts["train"], counts["val"], counts["test"], len(classes), looks.seconds)


def _moments(films: Sequence[OwnVideo], classes: int, looks: Looks) -> Videos:
    """The same of films with boxes: their clips are moments, with the seconds kept for each."""
    from autox3d.planning.own_lists import moments
    from autox3d.planning.plan import Videos

    train, val, test = (
        moments(film for film in films if film.split == split) for split in ("train", "val", "test")
    )
    total = train + val + test
    kept = min(looks.seconds * len(films) / total, 2 * MARGIN)
    return Videos(train, val, test, classes, kept)


def _data_lines(size: Videos, videos: Sequence[OwnVideo], looks: Looks, how: str) -> Iterator[str]:
    """What the videos are, and how they are split."""
    by_class = Counter(name for video in videos for name in video.names)
    most = sorted(by_class, key=lambda name: (-by_class[name], name))
    shown = ", ".join(f"{name} {by_class[name]}" for name in most[:8])
    more = f" and {len(by_class) - 8} more" if len(by_class) > 8 else ""
    films = videos[0].boxes is not None
    what = f"{len(videos)} films with boxes at {size.total} moments" if films else ""
    yield f"{what or f'{size.total} videos'} of {size.classes} classes: {shown}{more}"
    yield (
        f"median {looks.seconds:.1f} s, longest {looks.longest:.0f} s, shorter side {looks.short} "
        f"px (of {looks.opened} that were opened)"
    )
    split = f"split: {size.train} train, {size.val} val, {size.test} test"
    if videos[0].group and not all(video.split == "test" for video in videos):
        recordings = len({video.group for video in videos})
        split += f"; {recordings} recordings by {how}, each in one split"
    yield split
    held = Counter(name for one in videos if one.split != "train" for name in one.names)
    few = sorted(name for name in by_class if held[name] < FEW)
    if few:
        named = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        yield f"few held-out videos (fewer than {FEW}) of: {named}; expect wide intervals"
    if max(by_class.values()) > UNEVEN * min(by_class.values()):
        yield f"uneven classes: a network may leave '{most[-1]}' out; look at the confusion"
    for line in looks.unreadable:
        yield f"cannot be read, and will be left out: {line}"


def _device() -> Device:
    """The GPU of this machine, or its CPU."""
    import torch

    from autox3d.planning.recipe import Device
    from autox3d.runtime.provenance import device_name

    gpu = torch.cuda.is_available()
    name = device_name(torch.device("cuda" if gpu else "cpu"))
    return Device(name=name, gpu=gpu, cores=len(os.sched_getaffinity(0)))


def _settings(
    asked: Asked, looks: Looks, device: Device, size: Videos
) -> tuple[str, list[str], str]:
    """The text of params.yaml, why it is as it is, and what running it will take."""
    from autox3d.pipeline.settings_docs import LINE
    from autox3d.planning import recipe
    from autox3d.planning.plan import stage_costs
    from autox3d.planning.rates import measure
    from autox3d.vision.arch.cost import in_words

    base = schema.parse(FOLDER)
    content, why = recipe.drafted(base, asked, looks, device, size)
    params = recipe.checked(content)
    genotype = recipe.genotype_of(params, asked)
    rates = measure(params, genotype, QUICK)
    why = [f"on {device.name}: {in_words(genotype, size.classes)}", *why]
    why += recipe.with_epochs(content, asked, device, size, rates)
    params = schema.check(content, type(params), Path("params.yaml"))
    costs = stage_costs(params, size, rates)
    run = {"transcode", f"train@{asked.network}", f"evaluate@{asked.network}"}
    names = {one.stage for one in costs} if asked.budget else run
    minutes = recipe.took(costs, names, rates, device)
    gigabytes = sum(one.gigabytes for one in costs if one.stage in names)
    head = (
        f"{LINE}# Written by `autox3d start`; change what you like. docs/SETTINGS.md explains each "
        "setting.\n"
    )
    whole = max(1, round(minutes))
    end = f"It will take about {whole} minute{'s' * (whole > 1)} and {gigabytes:.1g} GB. Run:"
    return head + recipe.written(content), why, end
