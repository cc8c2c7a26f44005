"""AutoAugment on clips is AutoAugment on each frame, pixel for pixel as Pillow does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench.augment import PILLOW, by_pillow

from autox3d.vision.clips.augment_policy import POLICY, Operation, draw
from autox3d.vision.clips.autoaugment import (
    LEVELS,
    PIXELS,
    TABLES,
    autoaugment,
    autoaugmented,
)


def clips() -> list[torch.Tensor]:
    """Noise; a narrow range of greys; one flat colour; a smooth ramp."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(20, 200, 2 * 33 * 48 * 3).reshape(2, 33, 48, 3)
    made = [
        rng.integers(0, 256, (3, 40, 56, 3), np.uint8),
        rng.integers(90, 140, (2, 37, 51, 3), np.uint8),
        np.full((1, 16, 16, 3), 77, np.uint8),
        ramp.astype(np.uint8),
    ]
    return [torch.from_numpy(clip) for clip in made]


def share_that_differs(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of the pixels."""
    assert one.dtype == other.dtype == torch.uint8
    return float((one != other).any(-1).float().mean())


def test_each_operation_has_its_reference():
    """Nothing in the policy goes untested."""
    used = {name for row in POLICY for name, _, _ in row}

    assert used == set(PILLOW) == set(LEVELS) | set(TABLES) | set(PIXELS)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("strength", [0, 0.23, 0.57, 0.97])
@pytest.mark.parametrize("name", PILLOW)
def test_operations_equal_pillow_on_every_frame(name, strength, sign):
    """Equal pixels; a turn may differ where a pixel lies on the border between two."""
    for clip in clips():
        one = [Operation(name, strength, sign)]

        allowed = 0.005 if name in ("rotate", "shear_x") else 0
        assert share_that_differs(autoaugment(clip, one), by_pillow(clip, one)) <= allowed


@pytest.mark.parametrize("name", sorted(set(PILLOW) - {"rotate", "shear_x"}))
def test_operations_equal_pillow_at_full_strength(name):
    """A full shear would put pixels right on the border between two."""
    for clip in clips():
        one = [Operation(name, 1, 1)]

        assert torch.equal(autoaugment(clip, one), by_pillow(clip, one))


@pytest.mark.parametrize("row", range(len(POLICY)))
def test_rows_of_the_policy_equal_pillow(row):
    """One table for several operations gives what they give one after the other."""
    for clip in clips():
        both = [Operation(name, magnitude / 9, 1) for name, _, magnitude in POLICY[row]]

        turns = any(one.name in ("rotate", "shear_x") for one in both)
        found = share_that_differs(autoaugment(clip, both), by_pillow(clip, both))
        # An equalised frame moves as a whole with the few pixels that a turn puts elsewhere
        assert found <= (0.02 if turns else 0)


def test_floats_go_in_steps_of_a_level():
    """Floats in [0, 1] are what the levels are, over 255; a clip without operations stays."""
    clip = clips()[1]
    for seed in range(40):
        operations = draw(np.random.default_rng(seed))
        levels = autoaugment(clip, operations)

        assert torch.equal(autoaugment(clip / 255, operations), levels / 255)
    assert autoaugment(clip, ()) is clip


def test_a_strided_clip_is_as_good():
    """Clips come as slices and turned views too."""
    clip = clips()[0]
    turned_clip = clip.flip(2).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    for seed in range(40):
        operations = draw(np.random.default_rng(seed))

        assert torch.equal(
            autoaugment(turned_clip, operations), autoaugment(clip.flip(2), operations)
        )


def test_draws_follow_the_policy():
    """Each row as often as any other, each operation as often as its probability says."""
    drawn = [draw(np.random.default_rng(seed)) for seed in range(20_000)]

    expected = sum(p for row in POLICY for _, p, _ in row) / len(POLICY)
    assert np.mean([len(some) for some in drawn]) == pytest.approx(expected, rel=0.02)
    assert np.mean([one.sign for some in drawn for one in some]) == pytest.approx(0, abs=0.02)
    solarized = [some for some in drawn if any(one.name == "solarize" for one in some)]
    share = sum(p for row in POLICY for name, p, _ in row if name == "solarize") / len(POLICY)
    assert len(solarized) / len(drawn) == pytest.approx(share, rel=0.05)


def test_a_clip_is_augmented_by_its_generator_alone():
    """The same generator gives the same operations; others give others."""
    done = [draw(np.random.default_rng(seed)) for seed in range(60)]

    assert done == [draw(np.random.default_rng(seed)) for seed in range(60)]
    assert len(set(done)) > 15


def test_frames_of_a_clip_share_their_operations():
    """A clip of equal frames stays a clip of equal frames."""
    clip = clips()[0][:1].expand(4, -1, -1, -1)

    for seed in range(40):
        done = autoaugment(clip, draw(np.random.default_rng(seed)))
        assert torch.equal(done, done[:1].expand_as(done))


def test_clips_that_are_augmented_together_are_what_they_are_alone():
    """Whatever the others get: every row of the policy twice, a part of a row, and nothing."""
    rng = np.random.default_rng(3)
    rows = [tuple(Operation(n, m / 9, 1) for n, _, m in row) for row in POLICY]
    drawn = [(), *rows, *(row[:1] for row in rows), *(draw(rng) for _ in range(40))]
    some = [torch.from_numpy(rng.integers(0, 256, (2, 24, 32, 3), np.uint8)) for _ in drawn]

    together = autoaugmented(some, drawn)
    for clip, operations, found in zip(some, drawn, together, strict=True):
        assert torch.equal(found, autoaugment(clip, operations))
    assert together[0] is some[0]
