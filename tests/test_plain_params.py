"""Files of settings lose YAML aliases and gain keys; all other text stays as it is."""

from __future__ import annotations

import pytest
import yaml

from autox3d.pipeline.plain_params import with_keys, without_aliases

ALIASES = """\
# Every number.
scale: {s: {frames: 8}}

train:  # a table each
  s: &s
    seed: 1
    lr: &lr 1.60  # as the paper
    weight_decay: 5.0e-5
    tune: fastdecode,ssim
    sampling: &cut {jitter: [54, 64], flip: false}
  # two larger ones
  m: {<<: *s, seed: 2, sampling: {<<: *cut, jitter: [62, 72]}}  # same views
  l:
    <<: *s
    lr: 0.4  # lower
  x3d_s: *s  # alike
  sizes: [*lr, 2]
  rates:
    - *lr
    - 3
  last: *cut
"""
PLAIN = """\
# Every number.
scale: {s: {frames: 8}}

train:  # a table each
  s:
    seed: 1
    lr: 1.60  # as the paper
    weight_decay: 5.0e-5
    tune: fastdecode,ssim
    sampling: {jitter: [54, 64], flip: false}
  # two larger ones
  m:  # same views
    seed: 2
    lr: 1.60
    weight_decay: 5.0e-5
    tune: fastdecode,ssim
    sampling: {jitter: [62, 72], flip: false}
  l:
    seed: 1
    weight_decay: 5.0e-5
    tune: fastdecode,ssim
    sampling: {jitter: [54, 64], flip: false}
    lr: 0.4  # lower
  x3d_s:  # alike
    seed: 1
    lr: 1.60
    weight_decay: 5.0e-5
    tune: fastdecode,ssim
    sampling: {jitter: [54, 64], flip: false}
  sizes: [1.60, 2]
  rates:
    - 1.60
    - 3
  last: {jitter: [54, 64], flip: false}
"""


def test_aliases_and_merge_keys_are_written_out_in_place():
    """Comments, the spelling of numbers and all values stay."""
    made = without_aliases(ALIASES)

    assert made == PLAIN
    assert yaml.safe_load(made) == yaml.safe_load(ALIASES)


@pytest.mark.parametrize("text", [PLAIN, "", "# nothing\n", "a: 1", "a: 'R&D *s'\n"])
def test_a_file_without_aliases_stays_as_it_is(text):
    """Not a character changes; `&` and `*` in quotes are not aliases."""
    assert without_aliases(text) == text


def test_what_cannot_be_written_out_is_refused():
    """A table that contains itself would never end."""
    with pytest.raises(ValueError, match=r"^a table contains itself$"):
        without_aliases("a: &a {b: *a}\n")


def test_keys_that_are_missing_come_last_in_their_tables():
    """They have the style of the table and come before the blank lines that follow it."""
    above, below = "train:\n  s:\n    lr: 1.6\n    cut: {a: 1}  # c\n", "\n  m: {lr: 1"
    text = f"{above}{below}}}\n  n: {{rate: 0.5}}\n  o: {{}}\n"

    made, names = with_keys(text, {"train.*.rate": 0.0, "search.rate": 1})

    assert names == ["train.s.rate", "train.m.rate", "train.o.rate"]
    assert made == (
        f"{above}    rate: 0.0\n{below}, rate: 0.0}}\n  n: {{rate: 0.5}}\n  o: {{rate: 0.0}}\n"
    )
    assert with_keys(made, {"train.*.rate": 0.0}) == (made, [])
