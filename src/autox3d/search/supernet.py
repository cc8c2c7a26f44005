"""The supernet: all networks of a space in one set of shared weights (A3D 3.2, 4.2).

The shared weights are those of the widest network. A path is a network whose weights are gathered
from them, so it computes the same bits as that network alone. What the candidates share:

    1x1x1 convolutions, squeeze-excite, head   shared by all, sliced by the candidates' arcs
    depthwise kernel and the norm after it     one for each kernel type, sliced likewise
    attention unit                             one for each kind, sliced likewise
    stem, the head after its first layer       shared as a whole
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.func import functional_call

from autox3d.core import names
from autox3d.core.errors import Refused
from autox3d.search.channel_sets import Ring, Selection, cells, exact
from autox3d.search.gathering import Cut, Set, gathered
from autox3d.search.space import Axes, Draw, Space
from autox3d.vision.arch.blocks import Block, BlockStyle, block_type, kernel_size
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.arch.units import UNITS
from autox3d.vision.models.attention import attention
from autox3d.vision.models.blocks import DropConnect, block
from autox3d.vision.models.network import (
    VideoNet,
    initialise_layer,
    of_streams,
    set_training,
)
from autox3d.vision.models.norm import BatchNorm

KNOWN = 1024  # draws whose sets are kept
HEAD = "conv.conv.weight"  # the only weight of the head that depends on the last group's width


class Supernet(nn.Module):
    """The shared weights as a module; each forward pass takes the draw of one network.

    Args:
        space: the search space
        classes: number of classes
        selection: which parts of a shared kernel each candidate uses
    """

    def __init__(self, space: Space, classes: int, selection: Selection) -> None:
        super().__init__()
        self.space, self.classes = space, classes
        self.axes = space.axes(selection)
        widest = widest_genotype(space, self.axes)
        self.widest = VideoNet(widest, classes)
        for number, row in enumerate(widest.blocks()):
            self._widen(number, row)
        for layer in self.widest.modules():
            if isinstance(layer, BatchNorm):
                layer.tracked = False
        self._known: dict[Draw, tuple[Genotype, list[dict[str, Set]]]] = {}

    def _widen(self, number: int, row: Block) -> None:
        """Adds to a block a kernel of each type, a shortcut, and an attention unit of each kind."""
        group, own, kind = (
            self.space.groups[row.group],
            self.widest.blocks[number],
            block_type(row.type),
        )
        made = {
            kernel: block(replace(row, kernel=kernel_size(kernel), shared=True), self.space.block)
            for kernel in group.kernel
        }
        for name in kind.typed:
            parts = {kernel: one.get_submodule(name) for kernel, one in made.items()}
            own.add_module(name, nn.ModuleDict(parts))
        for name in kind.optional:  # such as a shortcut, if two groups differ in width
            if isinstance(own.get_submodule(name), nn.Identity):
                own.add_module(name, made[group.kernel[0]].get_submodule(name))
        kinds = {one for one in group.attention if "none" not in (one, row.attention)}
        nodes = self.space.attention.nodes
        units = {one: attention(one, row.channels, nodes) for one in sorted(kinds)}
        self.widest.attention[number] = nn.ModuleDict(units)
        for name in (*kind.typed, *kind.optional):
            own.get_submodule(name).apply(initialise_layer)
        self.widest.attention[number].apply(initialise_layer)

    def train(self, mode: bool = True) -> Supernet:
        """Turns dropout on or off; batch norm uses the statistics of the batch in both modes."""
        super().train()
        self.training = mode
        self.widest.head.dropout.train(mode)
        return self

    @property
    def bn_clips(self) -> int:
        """The number of clips that share batch-norm statistics; there are no running ones."""
        return self.widest.stem.norm.clips

    @property
    def dropout(self) -> float:
        """The dropout rate before the last layer, in training."""
        return self.widest.head.dropout.p

    @property
    def drop_connect(self) -> float:
        """The rate at which a clip skips a residual branch, in training."""
        layers = self.widest.blocks.modules()
        return next((layer.rate for layer in layers if isinstance(layer, DropConnect)), 0.0)

    def forward(self, clips: Tensor | Sequence[Tensor], draw: Draw) -> Tensor:
        """(B, 3, T, H, W) -> logits (B, P, classes), with batch statistics in batch norm."""
        genotype, sets = self._described(draw)
        drop_connect = self.drop_connect if self.training else 0.0
        rows = genotype.blocks()
        pairs = [wiring(wired(row), genotype.block, self.bn_clips, drop_connect) for row in rows]
        weights, head = self._weights(genotype, sets, pairs)
        (x,) = map(self.widest.stem, of_streams(clips, self.widest.streams))
        for modules, own in zip(pairs, weights, strict=True):
            for module, named in zip(modules, own, strict=True):
                x = functional_call(module, named, x)
        return functional_call(self.widest.head, {HEAD: head}, x)

    def network(self, draw: Draw) -> VideoNet:
        """Extracts a network with its own copy of the weights; its batch norm needs calibration."""
        genotype, sets = self._described(draw)
        net = VideoNet(genotype, self.classes)
        set_training(
            net, bn_clips=self.bn_clips, dropout=self.dropout, drop_connect=self.drop_connect
        )
        net.to(self.widest.head.get_parameter(HEAD).device)
        pairs = list(zip(net.blocks, net.attention, strict=True))
        with torch.no_grad():
            weights: dict[str, Tensor] = {
                name: weight
                for name, weight in self.widest.named_parameters()
                if name.startswith(("stem", "head"))
            }
            of_blocks, weights[f"head.{HEAD}"] = self._weights(genotype, sets, pairs)
            for number, parts in enumerate(of_blocks):
                for prefix, part in zip(("blocks", "attention"), parts, strict=True):
                    for name, weight in part.items():
                        weights[f"{prefix}.{number}.{name}"] = weight
            net.load_state_dict(net.state_dict() | weights)
        return net

    def _described(self, draw: Draw) -> tuple[Genotype, list[dict[str, Set]]]:
        """The network of a draw and the sets of its blocks; the latest draws are kept."""
        if draw not in self._known:
            genotype = self.space.genotype(draw, self.space.name)
            if len(self._known) == KNOWN:
                self._known.clear()
            self._known[draw] = genotype, block_sets(genotype, self.axes)
        return self._known[draw]

    def _weights(
        self,
        genotype: Genotype,
        sets: list[dict[str, Set]],
        pairs: Sequence[tuple[nn.Module, nn.Module]],
    ) -> tuple[list[tuple[dict[str, Tensor], ...]], Tensor]:
        """Gathers the weights of a path: those of each block and unit by name, and the head's."""
        cuts: list[tuple[dict[str, Cut], dict[str, Cut]]] = []
        for number, (row, (own, unit)) in enumerate(zip(genotype.blocks(), pairs, strict=True)):
            kernel = genotype.groups[row.group].kernel
            of_block = self._block(number, row, own, kernel, sets[number])
            cuts.append((of_block, self._unit(number, row, unit, sets[number])))
        head = Cut(self.widest.head.get_parameter(HEAD), _sets("-O", sets[-1]))
        every = [cut for pair in cuts for part in pair for cut in part.values()]
        *found, last = gathered([*every, head])
        weights = iter(found)
        taken = [tuple({name: next(weights) for name in part} for part in pair) for pair in cuts]
        return taken, last

    def _block(
        self, number: int, row: Block, own: nn.Module, kernel: str, sets: dict[str, Set]
    ) -> dict[str, Cut]:
        """The cuts of a block's weights, under the names that they have in a network."""
        shared, kind = self.widest.blocks[number], block_type(row.type)
        cuts: dict[str, Cut] = {}
        for name, _ in own.named_parameters():
            first, _, rest = name.partition(".")
            typed = f"{first}.{kernel}.{rest}" if first in kind.typed else name
            letters = letters_of(kind.cuts, name)
            cuts[name] = Cut(shared.get_parameter(typed), _sets(letters, sets))
        return cuts

    def _unit(
        self, number: int, row: Block, unit: nn.Module, sets: dict[str, Set]
    ) -> dict[str, Cut]:
        """The cuts of the attention unit after a block; none for the identity."""
        shared, cuts = self.widest.attention[number], UNITS[row.attention].cuts
        return {
            name: Cut(
                shared.get_parameter(f"{row.attention}.{name}"),
                _sets(letters_of(cuts, name), sets),
            )
            for name, _ in unit.named_parameters()
        }


def _sets(letters: str, sets: dict[str, Set]) -> tuple[Set | None, ...]:
    """The set of each dimension; "-" keeps the whole dimension."""
    return tuple(None if letter == "-" else sets[letter] for letter in letters)


def wired(row: Block) -> Block:
    """Normalises the sizes in a block's row, so that only its wiring distinguishes it."""
    return replace(
        row,
        group=0,
        kernel=(1, 1),
        channels_in=8,
        inner=8 if row.inner == row.channels_in else 16,
        channels=8 if row.channels_in == row.channels else 16,
        gate=8 if row.gate else 0,
    )


@cache
def wiring(
    row: Block, style: BlockStyle, bn_clips: int, drop_connect: float
) -> tuple[nn.Module, nn.Module]:
    """Makes a block and its attention unit on the meta device, to be called with any weights.

    Args:
        row: a result of `wired`, so that the cache stays small
    """
    with torch.inference_mode(False), torch.device("meta"):  # they are kept for training, too
        pair = block(row, style), attention(row.attention, row.channels, 1.0)
    for module in pair:
        set_training(module, bn_clips=bn_clips, drop_connect=drop_connect)
        for layer in module.modules():
            if isinstance(layer, BatchNorm):
                layer.tracked = False
    return pair


def letters_of(cuts: Mapping[str, str], name: str) -> str:
    """The letters of the sets that slice a parameter; a bias uses the first of its weight."""
    layer, _, kind = name.rpartition(".")
    return cuts[layer] if kind == "weight" else cuts[layer][0]


def block_sets(genotype: Genotype, axes: list[Axes]) -> list[dict[str, Set]]:
    """For every block of a network, the positions of its channels in the widest network."""
    every: list[dict[str, Set]] = []
    ring, inputs = axes[0].inputs, tuple(range(axes[0].inputs.count))
    for row in genotype.blocks():
        group, here = genotype.groups[row.group], axes[row.group]
        outputs = here.outputs.arc(group.channels)
        spanned, side = (inputs, ring) if genotype.expansion_of == "in" else (outputs, here.outputs)
        inner = cells(spanned, here.expansions.arc(group.expansion), here.expansions.count)
        sets = {
            "I": Set(inputs, int(ring.step)),
            "O": Set(outputs, int(here.outputs.step)),
            "N": Set(tuple(inner), int(side.step * here.expansions.step)),
            "E": Set(tuple(range(row.gate // 8)), 8),
        }
        for unit in UNITS.values():
            sizes = unit.sizes(here.outputs.step, exact(genotype.attention.nodes))
            sets |= {letter: Set(outputs, size) for letter, size in sizes.items()}
        every.append(sets)
        ring, inputs = here.outputs, outputs
    return every


def widest_genotype(space: Space, axes: list[Axes]) -> Genotype:
    """The widest network: all parts of every ring, and attention wherever it is a candidate."""
    first = space.genotype((0,) * len(space.choices), space.name)
    groups = [
        replace(
            group,
            channels=_full(ring.outputs),
            expansion=float(ring.expansions.count * ring.expansions.step),
            attention=max(candidates.attention, key=lambda kind: kind != "none"),
        )
        for group, candidates, ring in zip(first.groups, space.groups, axes, strict=True)
    ]
    return replace(first, groups=tuple(groups))


def _full(ring: Ring) -> int:
    return int(ring.count * ring.step)


@torch.no_grad()
def load_weights(net: Supernet, path: Path, stage: str) -> dict[str, Tensor]:
    """Loads the weights of a file that `stage` wrote; returns all tensors of the file.

    The weights have the names `weight.<name>` in the file.

    Raises:
        Refused: the file is missing, or belongs to another space.
    """
    try:
        with safe_open(path, "pt") as file:
            names.check_format((file.metadata() or {}).get(names.KEY, 1), path)
            listed = file.keys()
            tensors = names.modern({name: file.get_tensor(name) for name in listed})
    except (OSError, SafetensorError) as error:
        raise Refused(f"{path}: no weights ({error}). Run `{stage}` again.") from error
    for name, weight in net.named_parameters():
        tensor = tensors.get(f"weight.{name}")
        if tensor is None or tensor.shape != weight.shape:
            raise Refused(f"{path}: '{name}' does not fit {net.space.name}. Run `{stage}` again.")
        weight.copy_(tensor)
    return tensors
