"""With and without attention on the same clips and networks: a small effect is told from none."""

import dataclasses
import math

import pytest
import torch
from support.spaces import SPACE, THREE_WIDTHS

from autox3d.search import attention_pairs
from autox3d.search.attention_pairs import differences, paired_t, removable
from autox3d.search.space import Space
from autox3d.vision.tasks.classify import TASK


def space_of(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return Space.load(path)


class Scores(torch.nn.Module):
    """Logits that a draw shifts by much, and the unit of the fourth choice by little."""

    def __init__(self, unit):
        super().__init__()
        self.unit, self.asked = unit, 0

    def forward(self, clips, draw):
        self.asked += 1
        right = clips[:, 0, 0, 0, :1] + 3.0 * sum(draw[:3]) + self.unit * draw[3]
        return torch.cat([right, torch.zeros_like(right)], 1)[:, None]


def chunks(count):
    """Chunks of 8 clips whose first pixel decides how easy they are; the first class is right."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield 3 * torch.randn((8, 3, 1, 1, 2), generator=generator), torch.zeros(8).long()


def measured(space, unit, count=40):
    net = Scores(unit)
    rows = differences(net, space, removable(space), chunks(count), TASK, seed=1)
    return net, [row[0] for row in rows]


def test_a_small_effect_is_seen_that_unpaired_clips_would_hide(tmp_path):
    """0.02 more for the right class, among choices and clips that move it by 3: t is over 10.

    The likelihoods themselves vary a hundred times as much, so that two lots of clips say nothing.
    """
    space = space_of(tmp_path, SPACE)
    _, values = measured(space, 0.02)
    tested = paired_t(values)
    alone = [
        attention_pairs._likelihood(Scores(0.0), TASK, *chunk, (0,) * len(space.choices))
        for chunk in chunks(40)
    ]

    assert 0 < tested["gain"] < 0.02
    assert tested["t"] > 5
    assert torch.tensor(alone).std() / math.sqrt(40) > 10 * tested["error"]


def test_a_unit_that_does_nothing_has_no_difference(tmp_path):
    """Equal to the last bit in every chunk, so that t is 0 and not a division by nothing."""
    _, values = measured(space_of(tmp_path, SPACE), 0.0)

    assert set(values) == {0.0}
    assert paired_t(values) == {"gain": 0.0, "error": 0.0, "t": 0.0}


def test_t_is_the_mean_over_its_standard_error():
    """By hand: 1, 2, 3 have mean 2 and standard error sqrt(1/3)."""
    tested = paired_t([1.0, 2.0, 3.0])

    assert tested["error"] == pytest.approx(math.sqrt(1 / 3))
    assert tested["t"] == pytest.approx(2 * math.sqrt(3))
    assert paired_t([5.0])["t"] == 0.0  # one chunk alone has no spread


def test_each_network_runs_once_a_chunk(tmp_path):
    """A chunk needs one pass more than the space has units, for the network without any change."""
    space = space_of(tmp_path, SPACE)
    net, _ = measured(space, 0.1, count=5)

    assert net.asked == 5 * 2


def test_only_units_that_can_be_left_out_are_compared(tmp_path):
    """The tiny space can leave out the unit of its first group; its second group has none."""
    assert removable(space_of(tmp_path, SPACE)) == [(3, 0, 1)]
    (kinds,) = space_of(tmp_path, THREE_WIDTHS.replace("UNIT", "nonlocal")).groups
    assert kinds.attention == ("none", "nonlocal")
    always = dataclasses.replace(kinds, attention=("nonlocal",))
    space = dataclasses.replace(space_of(tmp_path, SPACE), groups=(always,))
    assert removable(space) == []
