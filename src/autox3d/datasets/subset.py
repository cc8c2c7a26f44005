"""Mini-Kinetics-200: from its official lists of ids, or by its rule on any data; and two halves.

The rule: the classes with most training clips, so many training and validation clips of each,
at random. A clip's place in the draw is a hash of (seed, class, clip), so that clips of other
classes, or of its own, change nothing for it but where the line falls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from autox3d.core.errors import Refused
from autox3d.core.tables import HALVES


def by_rule(
    clips: pd.DataFrame, classes: Sequence[str], keep: int, counts: dict[str, int], seed: int
) -> pd.DataFrame:
    """`counts` clips a class by split (or all that there are) of the `keep` largest classes.

    Raises:
        Refused: there are fewer classes.
    """
    train = clips[(clips["split"] == "train") & (clips["label"] >= 0)]
    sizes = train.groupby("label").size()
    if len(sizes) < keep:
        raise Refused(
            f"params.yaml: 'subset.classes' is {keep}, but only {len(sizes)} classes have "
            f"training clips. Ask for at most {len(sizes)}."
        )
    # ties in alphabetical order, which is the order of labels
    kept = sorted(sizes.index, key=lambda label: (-sizes[label], label))[:keep]
    parts = []
    for label in kept:
        of_class = clips[clips["label"] == label]
        for split, count in counts.items():
            part = of_class[of_class["split"] == split]
            places = _places(part["key"], seed, f"subset/{classes[label]}")
            parts.append(part[places.rank() <= count])
    return pd.concat(parts).sort_index()


def by_ids(clips: pd.DataFrame, lists: dict[str, Path]) -> pd.DataFrame:
    """The labelled clips of the recordings that a list of their split names, one id a line.

    Raises:
        Refused: a list is missing, names an id twice, or none of its ids has a clip.
    """
    parts = []
    for split, path in lists.items():
        ids = _ids(path)
        part = clips[(clips["split"] == split) & (clips["label"] >= 0) & clips["video"].isin(ids)]
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
            f"{path}: cannot be read ({error.strerror}). Mend subset.ids in "
            "params.yaml: its paths are under the data root."
        ) from error
    ids: set[str] = set()
    for number, line in enumerate(map(str.strip, lines), 1):
        if line in ids:
            raise Refused(f"{path} line {number}: id '{line}' stands twice. Delete one of the two.")
        ids |= {line} - {""}
    return ids


def halve(clips: pd.DataFrame, classes: Sequence[str], seed: int) -> pd.DataFrame:
    """Adds the column `half`: each class's training recordings, cut in two; none for others."""
    half = pd.Series(None, index=clips.index, dtype="str")
    train = clips[clips["split"] == "train"]
    for label, part in train.groupby("label"):
        # ranks of recordings: clips of one recording share a place, and so a half
        ranks = _places(part["video"], seed, f"half/{classes[int(str(label))]}").rank(
            method="dense"
        )
        first = ranks <= (ranks.max() + 1) // 2
        half[part.index] = first.map({True: HALVES[0], False: HALVES[1]})
    return clips.assign(half=half)


def renumber(clips: pd.DataFrame, classes: Sequence[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Labels among the classes that are kept, and the names of these."""
    kept = sorted(set(clips.loc[clips["split"] == "train", "label"]))
    number = {old: new for new, old in enumerate(kept)}
    clips = clips[clips["label"].isin(kept)].reset_index(drop=True)
    label = clips["label"].map(number).astype("int64")
    return clips.assign(label=label), tuple(str(classes[old]) for old in kept)


def _places(names: pd.Series, seed: int, purpose: str) -> pd.Series:
    """For each name a number in [0, 1) that depends on nothing else."""
    prefix = f"{seed}/{purpose}/".encode()
    digests = (hashlib.sha256(prefix + name.encode()).digest() for name in names)
    values = [int.from_bytes(digest[:6], "big") / 2**48 for digest in digests]
    return pd.Series(values, index=names.index, dtype="float64")
