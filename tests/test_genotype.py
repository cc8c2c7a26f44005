"""A genotype's file reads like the paper's table, and a wrong one says where it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import ARCHITECTURES

from autox3d.core.errors import Refused
from autox3d.vision.arch.blocks import gate_width
from autox3d.vision.arch.genotype import Genotype

SHIPPED = sorted(p for p in ARCHITECTURES.glob("*.yaml") if not p.name.startswith("space_"))


def read(path: Path) -> Genotype:
    return Genotype.load(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_as_saved(path, tmp_path):
    """Writing a shipped genotype again changes nothing but its comment."""
    genotype = read(path)
    assert genotype.name == path.stem

    genotype.save(tmp_path / path.name, "A comment\nof two lines.")

    lines = path.read_text().splitlines()
    body = [line for line in lines if not line.startswith("#")]
    assert (tmp_path / path.name).read_text().splitlines() == [
        "# A comment",
        "# of two lines.",
        *body,
    ]
    assert read(tmp_path / path.name) == genotype


def test_rows_of_the_table_align():
    """A column begins in the same place in every row."""
    lines = (ARCHITECTURES / "autox3d_s.yaml").read_text().splitlines()
    rows = [line for line in lines if line.startswith("  - ")]

    for column in ("kernel", "expansion", "channels", "blocks", "stride", "attention"):
        assert len({row.index(f"{column}:") for row in rows}) == 1


WRONG = [
    (
        "kernel: t3_s3, expansion: 4.5,",
        "kernel: t3_s4, expansion: 4.5,",
        "'groups', row 3, 'kernel' must be one of 't1_s3', 't1_s5', 't3_s3', 't3_s5', 't5_s3' or "
        "'t5_s5', not 't3_s4'.",
    ),
    (
        "expansion: 5.25,",
        "expansion: much,",
        "'groups', row 2, 'expansion' must be float, not 'much'.",
    ),
    ("channels: 88,  blocks: 3, stride: 1", "channels: 0, blocks: 3, stride: 1",
     "'groups', row 7, 'channels' must be > 0, not 0."),
    (
        "channels: 16,  blocks: 1, stride: 2",
        "chanels: 16, blocks: 1, stride: 2",
        "unknown 'groups', row 1, 'chanels'. Did you mean 'channels'?",
    ),
    ("stem: {channels: 24, temporal_kernel: 1}", "stem: {channels: 24}",
     "missing 'stem.temporal_kernel'."),
    ("expansion_of: in", "expansion_of: both",
     "'expansion_of' must be one of 'in' or 'out', not 'both'."),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_a_wrong_file_is_named_with_row_and_column(right, wrong, message, tmp_path):
    """One line: file, row, column, what is there and what may be."""
    text = (ARCHITECTURES / "autox3d_s.yaml").read_text()
    assert right in text
    path = tmp_path / "net.yaml"
    path.write_text(text.replace(right, wrong, 1))

    with pytest.raises(Refused) as refused:
        read(path)

    assert str(refused.value) == f"{path}: {message}"


def test_inner_channels_follow_the_family():
    """X3D expands the channels out and rounds down, Auto-X3D the channels in."""
    x3d = read(ARCHITECTURES / "x3d_xl.yaml").blocks()
    auto = read(ARCHITECTURES / "autox3d_s.yaml").blocks()

    assert [x3d[i].inner for i in (0, 5, 15, 40)] == [72, 162, 306, 630]
    assert [(b.channels_in, b.inner) for b in auto[:4]] == [(24, 54), (16, 84), (16, 84), (16, 72)]


@pytest.mark.parametrize(
    ("inner", "width"), [(54, 8), (108, 8), (216, 16), (432, 32), (630, 40), (1584, 96)]
)
def test_squeeze_excite_width(inner, width):
    """A sixteenth in eights, and eight more where rounding lost over a tenth."""
    assert gate_width(inner) == width


def test_squeeze_excite_stands_in_every_other_block_of_a_group():
    """Blocks 0, 2, 4, ...: the count starts anew in each group."""
    genotype = read(ARCHITECTURES / "autox3d_s.yaml")
    first = [bool(block.gate) for block in genotype.blocks()][:6]
    assert first == [True, True, False, True, False, True]

    groups = tuple(replace(group, squeeze_excite="all") for group in genotype.groups)
    assert all(block.gate for block in replace(genotype, groups=groups).blocks())


def test_a_network_is_a_list_of_streams_of_which_there_is_one():
    """Cost and network go through it; the file does not name it."""
    genotype = read(ARCHITECTURES / "x3d_s.yaml")
    (stream,) = genotype.streams

    assert (stream.input, stream.stem, stream.groups) == (
        genotype.input, genotype.stem, genotype.groups,
    )  # fmt: skip
    assert genotype.blocks_of(stream) == genotype.blocks()


def test_attention_stands_where_its_placement_says():
    """After the last block of group 4, or after each of its three."""
    after_group = read(ARCHITECTURES / "autox3d_s.yaml").blocks()
    after_block = read(ARCHITECTURES / "autox3d_s_published_cost.yaml").blocks()

    assert [i for i, b in enumerate(after_group) if b.attention == "glore"] == [7]
    assert [i for i, b in enumerate(after_block) if b.attention == "glore"] == [5, 6, 7]


def test_a_stage_begins_where_the_stride_is_two():
    """Table 2: 2, 2, 4 and 3 groups."""
    assert [len(stage) for stage in read(ARCHITECTURES / "autox3d_s.yaml").stages()] == [2, 2, 4, 3]


@pytest.mark.parametrize(("name", "side"), [("x3d_s", 5), ("x3d_m", 7), ("x3d_l", 10), ("x2d", 4)])
def test_the_heads_window_is_what_is_left_of_the_crop(name, side):
    """X3D, Tables 1 and 3: 5, 7 and 10 px of 160, 224 and 312."""
    assert read(ARCHITECTURES / f"{name}.yaml").pool == side
