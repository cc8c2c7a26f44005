"""An expansion is regularised more at the printed steps, or where the errors part."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import ARCHITECTURES, ROOT

from autox3d.core.errors import Refused
from autox3d.core.settings import load
from autox3d.expanding.candidate import recipe_of
from autox3d.sizing.expansion import start
from autox3d.sizing.regularisation import X3D, by_gap, by_step
from autox3d.sizing.steps import Candidate, ExpansionStep
from autox3d.training.drop_connect import by_stage, spread
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models.blocks import DropConnect
from autox3d.vision.models.network import VideoNet


@pytest.mark.parametrize(
    ("step", "batch", "epochs", "bn_clips", "drop_connect"),
    [(1, 2048, 128, 16, 0.0), (7, 2048, 128, 16, 0.0), (8, 1024, 256, 8, 0.0),
     (10, 1024, 256, 8, 0.0), (11, 1024, 256, 8, 0.1), (12, 1024, 256, 8, 0.1),
     (13, 1024, 256, 8, 0.2), (20, 1024, 256, 8, 0.2)],
)  # fmt: skip
def test_the_printed_schedule(step, batch, epochs, bn_clips, drop_connect):
    """X3D, A.3: of a batch of 1024 and 256 epochs."""
    level = by_step(X3D, step)

    assert (1024 * level.batch, 256 * level.epochs) == (batch, epochs)
    assert (level.bn_clips, level.drop_connect) == (bn_clips, drop_connect)


def test_the_order_of_the_levels_does_not_matter():
    assert by_step(X3D[::-1], 9) == X3D[1]


def test_a_step_before_the_first_level_is_refused():
    with pytest.raises(ValueError, match="no level of regularisation has begun at step 7"):
        by_step(X3D[1:], 7)


def test_each_gap_above_the_limit_raises_the_level_by_one():
    """Not the gap that is exactly the limit; and there is no level above the last."""
    assert by_gap(X3D, [], 0.05) == X3D[0]
    assert by_gap(X3D, [-0.1, 0.02, 0.05], 0.05) == X3D[0]
    assert by_gap(X3D, [0.02, 0.06], 0.05) == X3D[1]
    assert by_gap(X3D, [0.06, 0.02, 0.07], 0.05) == X3D[2]
    assert by_gap(X3D, [0.2] * 9, 0.05) == X3D[3]


def test_drop_connect_grows_over_the_stages():
    """X3D's code: 2, 3, 4, 5 fifths of the rate."""
    assert by_stage(0.1, 4) == pytest.approx([0.04, 0.06, 0.08, 0.1])


def test_a_network_has_the_rate_of_each_stage_in_its_blocks():
    """X3D-S has 3, 5, 11 and 7 blocks."""
    net = VideoNet(Genotype.load(ARCHITECTURES / "x3d_s.yaml"), 2)
    spread(net, 0.1)

    rates = [layer.rate for layer in net.modules() if isinstance(layer, DropConnect)]
    assert rates == pytest.approx([0.04] * 3 + [0.06] * 5 + [0.08] * 11 + [0.1] * 7)


def test_a_candidate_is_trained_by_the_entry_and_its_level():
    """Batch, epochs, warm-up and chunks are the level's; passes must be of whole chunks."""
    recipe = load(ROOT / "params.yaml").train["s"]
    entry = replace(recipe, epochs=20, warmup=4, batch=32, bn_clips=8, pass_clips=24)
    factors = start(Genotype.load(ARCHITECTURES / "x2d.yaml"), 6)
    shapes = Candidate(
        factors=factors, price=1.0, gmacs=1.0, params=1, memory_mb=1.0, jitter=(40, 60)
    )
    step = ExpansionStep(
        step="step1", number=1, unit="gmacs", before=1.0, level=X3D[0],
        candidates={"fast": shapes}, absent={},
    )  # fmt: skip
    late = replace(step, level=X3D[1])

    found = recipe_of(late, "fast", 3, entry, "s")
    assert (found.seed, found.sampling.jitter, found.pass_clips) == (3, (40, 60), 24)
    with pytest.raises(Refused) as refused:
        recipe_of(step, "fast", 3, entry, "s")
    assert str(refused.value) == (
        "params.yaml: 'train.s.pass_clips' is 24, no multiple of the 16 clips of batch norm "
        "in step1 of the expansion. Take one, or null."
    )
    found = recipe_of(step, "fast", 3, replace(entry, pass_clips=None), "s")
    assert (found.batch, found.epochs, found.warmup, found.bn_clips) == (64, 10, 2, 16)
