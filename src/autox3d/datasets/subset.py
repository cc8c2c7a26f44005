"""The clips of the search: Mini-Kinetics-200 or its rule on any data, in two halves.

Mini-Kinetics-200 is given by official lists of ids. Its rule keeps the classes with most training
clips, and a fixed number of training and validation clips of each, sampled at random. A clip's
rank in that sample is a hash of (seed, class, clip): it does not depend on the other clips, which
only move the cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from autox3d.core.errors import Refused
from autox3d.core.tables import HALVES
from autox3d.datasets import labels

if TYPE_CHECKING:
    from autox3d.core.settings import Subset


def choose(
    clips: pd.DataFrame, classes: Sequence[str], settings: Subset, root: Path
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns the clips of the search with their column `half`, and the names of its classes.

    The official lists, where the settings name some, are relative to the data root.

    Raises:
        Refused: there are fewer classes than asked for, a list is not right, or the clips have
            boxes, which a search does not ask about.
    """
    if "boxes" in clips:
        raise Refused(
            "params.yaml: a search does not ask about boxes. Train networks that are given: "
            "`dvc repro page@NAME`, with NAME an entry of 'pages'."
        )
    if settings.ids is None:
        counts = {"train": settings.train, "val": settings.val}
        keep = settings.classes or len(set(labels.each(clips[clips["split"] == "train"])))
        chosen = by_rule(clips, classes, keep, counts, settings.seed)
    else:
        lists = {"train": root / settings.ids.train, "val": root / settings.ids.val}
        chosen = by_ids(clips, lists)
    return renumber(halve(chosen, classes, settings.seed), classes)


def check_count(keep: int | None, known: int) -> None:
    """Checks that a data set has as many classes as the search is to keep; None: all.

    Raises:
        Refused: it has fewer.
    """
    if keep is not None and keep > known:
        raise Refused(
            f"params.yaml: 'subset.classes' is {keep}, but only {known} classes have "
            f"training clips. Ask for at most {known}, or write null for all."
        )


def by_rule(
    clips: pd.DataFrame, classes: Sequence[str], keep: int, counts: dict[str, int], seed: int
) -> pd.DataFrame:
    """Chooses the `keep` classes with most training clips, and `counts[split]` clips of each.

    A class with fewer clips gives all that it has. A clip of several classes is chosen once.

    Raises:
        Refused: there are fewer than `keep` classes.
    """
    sizes = labels.each(clips[clips["split"] == "train"]).value_counts()
    check_count(keep, len(sizes))
    # ties are broken by alphabetical order, which is the order of labels
    kept = sorted(sizes.index, key=lambda label: (-sizes[label], label))[:keep]
    chosen: set[int] = set()
    for label in kept:
        of_class = clips[labels.of_class(clips, label)]
        for split, count in counts.items():
            part = of_class[of_class["split"] == split]
            places = _places(part["key"], seed, f"subset/{classes[label]}")
            chosen |= set(part.index[places.rank() <= count])
    return labels.only(clips.loc[sorted(chosen)], kept)


def by_ids(clips: pd.DataFrame, lists: dict[str, Path]) -> pd.DataFrame:
    """Chooses the labelled clips of the recordings in the list of their split, one id a line.

    Raises:
        Refused: a list is missing, has an id twice, or none of its ids has a clip.
    """
    parts = []
    for split, path in lists.items():
        ids = _ids(path)
        part = clips[(clips["split"] == split) & clips["video"].isin(ids)]
        part = part[part.index.isin(labels.each(part).index)]
        if part.empty:
            raise Refused(
                f"{path}: none of its {len(ids)} ids has a usable clip in split '{split}'. "
                "Is it the list for this data set?"
            )
        parts.append(part)
    return pd.concat(parts).sort_index()


def _ids(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise Refused(
            f"{path}: cannot be read ({error.strerror}). Fix subset.ids in "
            "params.yaml: its paths are relative to the data root."
        ) from error
    ids: set[str] = set()
    for number, line in enumerate(map(str.strip, lines), 1):
        if line in ids:
            raise Refused(
                f"{path} line {number}: id '{line}' is listed twice. Delete one of the two."
            )
        ids |= {line} - {""}
    return ids


def halve(clips: pd.DataFrame, classes: Sequence[str], seed: int) -> pd.DataFrame:
    """Adds the column `half`: each class's training recordings are split into two equal halves.

    One half trains the weights, the other alpha (`HALVES`). Clips of val and test have none. Where
    a clip may have several classes, all recordings are split together.
    """
    half = pd.Series(None, index=clips.index, dtype="str")
    train = clips[clips["split"] == "train"]
    parts = [("", train)] if "labels" in clips else train.groupby("label")
    for label, part in parts:
        # recordings are ranked, not clips: all clips of a recording are in the same half
        name = classes[int(str(label))] if label != "" else ""
        places = _places(part["video"], seed, f"half/{name}")
        ranks = places.rank(method="dense")
        first = ranks <= (ranks.max() + 1) // 2
        half[part.index] = first.map({True: HALVES[0], False: HALVES[1]})
    return clips.assign(half=half)


def renumber(clips: pd.DataFrame, classes: Sequence[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Renumbers the labels 0, 1, ... over the classes with training clips; returns their names."""
    kept = sorted(set(labels.each(clips[clips["split"] == "train"])))
    number = {old: new for new, old in enumerate(kept)}
    clips = labels.renumbered(clips, number)
    clips = clips[clips.index.isin(labels.each(clips).index)].reset_index(drop=True)
    return clips, tuple(str(classes[old]) for old in kept)


def _places(names: pd.Series, seed: int, purpose: str) -> pd.Series:
    """Hashes each name, with the seed and the purpose, to a number in [0, 1)."""
    prefix = f"{seed}/{purpose}/".encode()
    digests = (hashlib.sha256(prefix + name.encode()).digest() for name in names)
    values = [int.from_bytes(digest[:6], "big") / 2**48 for digest in digests]
    return pd.Series(values, index=names.index, dtype="float64")
