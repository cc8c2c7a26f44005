"""A block type or a kind of attention is one row, and its class does what the row says."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from support import ARCHITECTURES
from support.products import Products
from torch import nn

from autox3d.core.errors import Refused
from autox3d.runtime.checkpoint import fingerprint
from autox3d.vision.arch import blocks as block_rows
from autox3d.vision.arch import units as unit_rows
from autox3d.vision.arch.account import Layer
from autox3d.vision.arch.blocks import Block, BlockStyle
from autox3d.vision.arch.cost import cost
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.models import attention, blocks
from autox3d.vision.models.norm import BatchNorm

STYLES = [
    BlockStyle(first="relu", second="swish", depthwise=depthwise) for depthwise in (True, False)
]
SHAPES = [  # channels in, inner, channels, stride, gate
    (16, 36, 16, 1, 8),
    (16, 36, 16, 2, 0),
    (16, 36, 24, 1, 8),
]


def row(shape: tuple[int, int, int, int, int], kind: str = block_rows.INVERTED) -> Block:
    channels_in, inner, channels, stride, gate = shape
    return Block(
        group=0,
        kernel=(3, 5),
        channels_in=channels_in,
        inner=inner,
        channels=channels,
        stride=stride,
        gate=gate,
        attention="none",
        type=kind,
        own=(1,) * len(block_rows.block_type(kind).columns),
    )


def assert_counts(layers: Iterable[Layer], module: nn.Module, x: torch.Tensor) -> None:
    """Parameters, norms, multiply-adds and outputs of a module that runs on the meta device."""
    listed = list(layers)
    norms = [layer for layer in module.modules() if isinstance(layer, BatchNorm)]
    for norm in norms:
        norm.forward = lambda x, then="none", plus=None: x
    with Products() as products, torch.no_grad():
        module(x)

    assert sum(one.weights + one.biases + 2 * one.normed for one in listed) == sum(
        parameter.numel() for parameter in module.parameters()
    )
    assert sum(one.normed for one in listed) == sum(len(norm.weight) for norm in norms)
    assert sum(one.macs for one in listed) == products.macs
    assert sum(one.outputs for one in listed) == products.outputs


def test_every_row_has_a_class_and_every_class_a_row():
    """A name that one side lacks would be found by a user."""
    assert unit_rows.UNITS.keys() == attention.UNITS.keys()
    assert block_rows.BLOCKS.keys() == blocks.BLOCKS.keys()


@pytest.mark.parametrize("channels", [16, 23])
@pytest.mark.parametrize("kind", unit_rows.UNITS)
def test_a_unit_costs_what_its_row_says(kind, channels):
    """Even and odd widths."""
    with torch.device("meta"):
        module = attention.attention(kind, channels, 0.25)
    x = torch.empty(1, channels, 4, 6, 6, device="meta")

    assert_counts(unit_rows.unit(kind).layers(channels, 0.25, 4 * 6 * 6), module, x)


@pytest.mark.parametrize("style", STYLES, ids=["depthwise", "dense"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", block_rows.BLOCKS)
def test_a_block_costs_what_its_row_says(kind, shape, style):
    """With and without stride, squeeze-excite and a shortcut of its own."""
    block = row(shape, kind)
    with torch.device("meta"):
        module = blocks.block(block, style)
    x = torch.empty(1, block.channels_in, 4, 6, 6, device="meta")
    cells = 4 * (6 // block.stride) ** 2

    layers = block_rows.block_type(kind).layers(block, style, 4 * 6 * 6, cells)
    assert_counts(layers, module, x)


def weighted(module: nn.Module) -> dict[str, int]:
    """The layers that have weights, and over how many dimensions the supernet cuts each."""
    return {
        name.removesuffix(".weight"): min(weight.ndim, 2)
        for name, weight in module.named_parameters()
        if name.endswith(".weight")
    }


def test_the_supernet_knows_how_to_cut_every_layer():
    """A letter for each dimension; the letters of a unit are its own, or the block's channels."""
    own: list[str] = []
    for kind, unit in unit_rows.UNITS.items():
        letters = unit.sizes(Fraction(8), Fraction(1, 4))
        module = attention.attention(kind, 8, 0.25)
        assert {name: len(cut) for name, cut in unit.cuts.items()} == weighted(module)
        assert set("".join(unit.cuts.values())) <= {*letters, "O"}
        own += letters
    assert len({*own, *"IONE"}) == len(own) + 4
    for kind, type_ in block_rows.BLOCKS.items():
        whole = replace(row(SHAPES[0], kind), shared=True)
        module = blocks.block(whole, STYLES[0])
        assert {name: len(cut) for name, cut in type_.cuts.items()} == weighted(module)
        assert {*type_.typed, *type_.optional} <= dict(module.named_children()).keys()


def test_an_unknown_name_is_refused_wherever_it_is_met(tmp_path):
    """By cost and network in code, and in a file with what may stand there."""
    odd = replace(row(SHAPES[0]), attention="gloree", type="bottle")
    line = f"unknown attention 'gloree'. Known: {', '.join(unit_rows.UNITS)}."
    with pytest.raises(ValueError, match=line):
        unit_rows.unit(odd.attention)
    with pytest.raises(ValueError, match=line):
        attention.attention(odd.attention, 8, 0.25)
    line = f"unknown block type 'bottle'. Known: {', '.join(block_rows.BLOCKS)}."
    for refuses in (lambda: odd.identity, lambda: blocks.block(odd, STYLES[0])):
        with pytest.raises(ValueError, match=line):
            refuses()

    text = (ARCHITECTURES / "autox3d_s.yaml").read_text()
    path = tmp_path / "net.yaml"
    for right, wrong, place, value in (
        ("attention: glore}", "attention: gloree}", "'groups', row 4, 'attention'", "'gloree'"),
        ("block: {", "block: {type: bottle, ", "'block.type'", "'bottle'"),
    ):  # fmt: skip
        assert right in text
        path.write_text(text.replace(right, wrong, 1))
        with pytest.raises(Refused) as refused:
            Genotype.load(path)
        assert str(refused.value).startswith(f"{path}: {place} must be one of ")
        assert str(refused.value).endswith(f", not {value}.")


def test_the_usual_block_type_need_not_be_named(tmp_path):
    """Files and checkpoints of before there was a type keep their bytes and their names."""
    text = (ARCHITECTURES / "autox3d_s.yaml").read_text()
    (tmp_path / "net.yaml").write_text(text.replace("block: {", "block: {type: inverted, "))
    named, plain = (
        Genotype.load(tmp_path / "net.yaml"),
        Genotype.load(ARCHITECTURES / "autox3d_s.yaml"),
    )
    named.save(tmp_path / "again.yaml", "Auto-X3D's supplement, Table 2a.")

    assert named == plain
    assert (tmp_path / "again.yaml").read_text() == text
    assert fingerprint(genotype=plain) == "90ebe533e145c06a"


def test_a_column_of_another_block_type_is_refused(monkeypatch):
    """A type names the columns that it adds; each row of its groups has all of them."""
    genotype = Genotype.load(ARCHITECTURES / "autox3d_s.yaml")
    monkeypatch.setattr(block_rows, "added", lambda kind: {"stride": None})
    with pytest.raises(ValueError, match="row 1: blocks of type 'inverted' have no 'stride'"):
        block_rows.check_columns(genotype.block, genotype.groups)

    inverted = replace(block_rows.BLOCKS["inverted"], columns=("stride",))
    monkeypatch.setitem(block_rows.BLOCKS, "inverted", inverted)
    block_rows.check_columns(genotype.block, genotype.groups)
    without = [SimpleNamespace(stride=None)]
    with pytest.raises(ValueError, match="row 1: blocks of type 'inverted' need a 'stride'"):
        block_rows.check_columns(genotype.block, without)  # pyright: ignore[reportArgumentType]
    assert [block.own for block in genotype.blocks()][:2] == [(2,), (1,)]


def test_peaks_are_the_largest_of_block_and_unit():
    """A unit wide enough decides the peak of its group."""
    plain = Genotype.load(ARCHITECTURES / "autox3d_s.yaml")
    groups = tuple(replace(group, attention="glore") for group in plain.groups)
    nodes = replace(plain.attention, nodes=4.0)
    wide = cost(replace(plain, groups=groups, attention=nodes), 400)

    peaks = itertools.pairwise(part.peak for part in (cost(plain, 400).parts[3], wide.parts[3]))
    assert all(few < many for few, many in peaks)
