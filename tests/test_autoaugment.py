"""AutoAugment on clips is AutoAugment on each frame, pixel for pixel as Pillow does it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from autox3d.video import autoaugment as aa

GREY = (128, 128, 128)


def turned(image: Image.Image, strength: float, sign: int) -> Image.Image:
    return image.rotate(sign * strength * 30, Image.Resampling.NEAREST, fillcolor=GREY)


def sheared(image: Image.Image, strength: float, sign: int) -> Image.Image:
    slope = sign * strength * 0.3
    matrix = (1, slope, -slope * image.height / 2, 0, 1, 0)
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=GREY
    )


def factor(strength: float, sign: int) -> float:
    return 1 + sign * 0.9 * strength


PILLOW = {
    "rotate": turned,
    "shear_x": sheared,
    "invert": lambda image, s, sign: ImageOps.invert(image),
    "solarize": lambda image, s, sign: ImageOps.solarize(image, 256 - 256 * s),
    "posterize": lambda image, s, sign: ImageOps.posterize(image, 8 - round(4 * s)),
    "equalize": lambda image, s, sign: ImageOps.equalize(image),
    "autocontrast": lambda image, s, sign: ImageOps.autocontrast(image),
    "color": lambda image, s, sign: ImageEnhance.Color(image).enhance(factor(s, sign)),
    "contrast": lambda image, s, sign: ImageEnhance.Contrast(image).enhance(factor(s, sign)),
    "sharpness": lambda image, s, sign: ImageEnhance.Sharpness(image).enhance(factor(s, sign)),
}


def clips() -> list[np.ndarray]:
    """Noise; a narrow range of greys; one flat colour; a smooth ramp."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(20, 200, 2 * 33 * 48 * 3).reshape(2, 33, 48, 3)
    return [
        rng.integers(0, 256, (3, 40, 56, 3), np.uint8),
        rng.integers(90, 140, (2, 37, 51, 3), np.uint8),
        np.full((1, 16, 16, 3), 77, np.uint8),
        ramp.astype(np.uint8),
    ]


def test_each_operation_has_its_reference():
    """Nothing in the policy goes untested."""
    used = {name for row in aa.POLICY for name, _, _ in row}

    assert used == set(aa.OPERATIONS) == set(PILLOW)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("strength", [0, 0.23, 0.57, 0.97])
@pytest.mark.parametrize("name", PILLOW)
def test_operations_equal_pillow_on_every_frame(name, strength, sign):
    """Equal pixels; a turn may differ where a pixel lies on the border between two."""
    for clip in clips():
        found = aa.OPERATIONS[name](clip, strength, sign)
        wanted = np.stack(
            [np.array(PILLOW[name](Image.fromarray(f), strength, sign)) for f in clip]
        )

        assert found.dtype == np.uint8
        allowed = 0.005 if name in ("rotate", "shear_x") else 0
        assert (found != wanted).any(-1).mean() <= allowed


def test_a_clip_is_augmented_by_its_generator_alone():
    """The same generator gives the same clip; others give others."""
    clip = clips()[1]
    done = [aa.autoaugment(clip, np.random.default_rng(seed)) for seed in range(60)]
    again = [aa.autoaugment(clip, np.random.default_rng(seed)) for seed in range(60)]

    assert all(np.array_equal(a, b) for a, b in zip(done, again, strict=True))
    assert len({a.tobytes() for a in done}) > 15


def test_frames_of_a_clip_share_their_operations():
    """A clip of equal frames stays a clip of equal frames."""
    clip = np.repeat(clips()[0][:1], 4, 0)

    for seed in range(40):
        done = aa.autoaugment(clip, np.random.default_rng(seed))
        assert (done == done[:1]).all()
