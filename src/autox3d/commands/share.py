"""Commands that hand a trained network on: pack, push."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from autox3d.commands.parser import Commands
from autox3d.core.errors import Refused

if TYPE_CHECKING:  # --help need not wait for all tables
    from autox3d.core.search_records import Derived


def add_to(commands: Commands) -> None:
    """Adds the commands pack and push."""
    tested = "--tested results/evaluate/s.json"
    example = f"autox3d pack --weights data/weights/s {tested} --out packed"
    _add_pack(commands.add("pack", pack, example))
    _add_push(commands.add("push", push, "autox3d push packed me/my-network --private"))


def _add_pack(one: argparse.ArgumentParser) -> None:
    one.add_argument("--weights", type=Path, required=True, help="a folder such as data/weights/s")
    one.add_argument("--made", type=Path, help="provenance: results/train/s_made.json")
    one.add_argument("--tested", type=Path, help="test results: results/evaluate/s.json")
    one.add_argument(
        "--derived",
        type=Path,
        help="record of the search: results/derive/derive.json; by default that beside --made",
    )
    one.add_argument("--dataset", default="", help="what Hugging Face calls the training data")
    one.add_argument("--out", type=Path, required=True, help="the folder to create")


def _add_push(one: argparse.ArgumentParser) -> None:
    one.add_argument("folder", type=Path, help="a folder of weights; best one that `pack` made")
    one.add_argument("repository", metavar="REPO", help="name or organisation/name")
    one.add_argument("--dataset", default="", help="what Hugging Face calls the training data")
    one.add_argument("--private", action="store_true", help="make it private, if it is new")


def pack(args: argparse.Namespace) -> None:
    """Copy a folder of weights, and complete its card with records of search, training, test."""
    from autox3d.core.records import Provenance
    from autox3d.core.scores import Evaluation
    from autox3d.vision.arch.genotype import Genotype
    from autox3d.vision.models import weights

    made = Provenance.read(args.made) if args.made else None
    tested = Evaluation.read(args.tested) if args.tested else None
    genotype = Genotype.load(args.weights / weights.GENOTYPE)
    derived = derived_of(genotype.choices, args.derived, args.made)
    weights.complete(args.weights, args.out, made, tested, derived, args.dataset)
    records = {"training": made, "test": tested, "search": derived}
    known = ", ".join(name for name, record in records.items() if record) or "nothing"
    print(f"{args.out}: a copy of {args.weights}; its card has, beyond that one's: {known}")


def push(args: argparse.Namespace) -> None:
    """Upload a folder of weights with its card to Hugging Face."""
    from autox3d.inference import hub  # needs packages that the rest does not

    print(hub.push(args.folder, args.repository, args.dataset, args.private))


def derived_of(choices: tuple[str, ...], given: Path | None, made: Path | None) -> Derived | None:
    """The record of the search that found a network with these choices, one text a group.

    Args:
        given: the record; by default results/derive/derive.json beside results/train/*_made.json

    Raises:
        Refused: the given record is of another network.
    """
    path = given or (made.parent.parent / "derive/derive.json" if made else None)
    if path is None or not (given or path.exists()):
        return None
    from autox3d.core.search_records import Derived

    derived = Derived.read(path)
    if derived.found.groups == choices:
        return derived
    if given:
        raise Refused(f"{path}: is of another network. Leave --derived out.")
    return None
