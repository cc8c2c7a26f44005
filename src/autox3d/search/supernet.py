"""The supernet: all networks of a space in one set of shared weights (A3D 3.2, 4.2).

The shared weights are those of the widest network. A path is a network whose weights are gathered
from them, so it computes the same bits as that network alone. What the candidates share:

    1x1x1 convolutions, squeeze-excite, head   shared by all, sliced by the candidates' arcs
    depthwise kernel and the norm after it     one for each kernel type, sliced likewise
    attention unit                             one for each kind, sliced likewise
    fusion of two streams                      one for each kind, sliced by the arcs of both
    stem, the head after its first layer       shared as a whole
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.func import functional_call

from autox3d.core import names
from autox3d.core.errors import Refused
from autox3d.search.channel_sets import Ring, Selection
from autox3d.search.gathering import Cut, Set, gathered
from autox3d.search.path_sets import Sets, chosen, letters_of, sets_of
from autox3d.search.space import Axes, Draw, Space
from autox3d.search.wiring import fusion_wiring, wired, wiring
from autox3d.vision.arch.blocks import Block, block_type, kernel_size
from autox3d.vision.arch.fusions import SKIP, fusion
from autox3d.vision.arch.genotype import Genotype
from autox3d.vision.arch.units import UNITS
from autox3d.vision.models.attention import attention
from autox3d.vision.models.blocks import DropConnect, block
from autox3d.vision.models.fusion import fusing
from autox3d.vision.models.network import (
    VideoNet,
    initialise_layer,
    of_streams,
    set_training,
)
from autox3d.vision.models.norm import BatchNorm

KNOWN = 1024  # draws whose sets are kept
HEADS = ("conv.conv.weight", "dense.conv.weight")  # of each stream: all that depends on a width
WHOLE = ("stem", "dense_stem", "head")  # parts that all networks share but for `HEADS`


class Taken(NamedTuple):
    """The weights of a path, by their names in its parts."""

    blocks: list[tuple[dict[str, Tensor], dict[str, Tensor]]]  # of each block, and of its unit
    fusions: list[dict[str, Tensor]]
    heads: dict[str, Tensor]  # `HEADS`


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
        for row, (_, *sizes) in enumerate(widest.fusions):
            kinds = sorted(set(space.dense.groups[row].fuse or ()) - {SKIP}) if space.dense else []
            made = nn.ModuleDict({kind: fusing(kind, *sizes) for kind in kinds})
            self.widest.fusions[row] = made.apply(initialise_layer)
        for layer in self.widest.modules():
            if isinstance(layer, BatchNorm):
                layer.tracked = False
        self._known: dict[Draw, tuple[Genotype, Sets]] = {}

    def _widen(self, number: int, row: Block) -> None:
        """Adds to a block a kernel of each type, a shortcut, and an attention unit of each kind."""
        group, own, kind = (
            self.space.rows[row.group],
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
        rows, alpha = genotype.blocks(), self.widest.every[0]
        pairs = [wiring(wired(row), genotype.block, self.bn_clips, drop_connect) for row in rows]
        fusions = [fusion_wiring(kind, alpha, self.bn_clips) for kind, *_ in genotype.fusions]
        weights = self._weights(genotype, sets, pairs, fusions)
        stems = (self.widest.stem, self.widest.dense_stem)
        streams = of_streams(clips, self.widest.every)
        x = [stem(one) for stem, one in zip(stems, streams, strict=False) if stem is not None]
        for stream, number, fuses in genotype.steps():
            if fuses:
                x[0] = x[0] + functional_call(fusions[number], weights.fusions[number], x[1])
                continue
            for module, named in zip(pairs[number], weights.blocks[number], strict=True):
                x[stream] = functional_call(module, named, x[stream])
        return functional_call(self.widest.head, weights.heads, (x[0], None, *x[1:]))

    def network(self, draw: Draw) -> VideoNet:
        """Extracts a network with its own copy of the weights; its batch norm needs calibration."""
        genotype, sets = self._described(draw)
        net = VideoNet(genotype, self.classes)
        set_training(
            net, bn_clips=self.bn_clips, dropout=self.dropout, drop_connect=self.drop_connect
        )
        net.to(self.widest.head.get_parameter(HEADS[0]).device)
        pairs = list(zip(net.blocks, net.attention, strict=True))
        with torch.no_grad():
            weights: dict[str, Tensor] = {
                name: weight
                for name, weight in self.widest.named_parameters()
                if name.startswith(WHOLE)
            }
            taken = self._weights(genotype, sets, pairs, list(net.fusions))
            weights |= {f"head.{name}": weight for name, weight in taken.heads.items()}
            for number, parts in enumerate(taken.blocks):
                for prefix, part in zip(("blocks", "attention"), parts, strict=True):
                    for name, weight in part.items():
                        weights[f"{prefix}.{number}.{name}"] = weight
            for number, part in enumerate(taken.fusions):
                for name, weight in part.items():
                    weights[f"fusions.{number}.{name}"] = weight
            net.load_state_dict(net.state_dict() | weights)
        return net

    def _described(self, draw: Draw) -> tuple[Genotype, Sets]:
        """The network of a draw and its sets; the latest draws are kept."""
        if draw not in self._known:
            genotype = self.space.genotype(draw, self.space.name)
            if len(self._known) == KNOWN:
                self._known.clear()
            self._known[draw] = genotype, sets_of(genotype, self.axes)
        return self._known[draw]

    def _weights(
        self,
        genotype: Genotype,
        sets: Sets,
        pairs: Sequence[tuple[nn.Module, nn.Module]],
        fusions: Sequence[nn.Module],
    ) -> Taken:
        """Gathers the weights of a path."""
        cuts: list[dict[str, Cut]] = []
        for number, (row, (own, unit)) in enumerate(zip(genotype.blocks(), pairs, strict=True)):
            kernel = genotype.rows[row.group].kernel
            cuts.append(self._block(number, row, own, kernel, sets.blocks[number]))
            cuts.append(self._unit(number, row, unit, sets.blocks[number]))
        for number, (fused, module) in enumerate(zip(genotype.fusions, fusions, strict=True)):
            cuts.append(self._fusion(number, fused[0], module, sets.fusions[number]))
        head = self.widest.head
        ends = zip(HEADS, sets.ends, strict=False)
        cuts.append({name: Cut(head.get_parameter(name), (None, end)) for name, end in ends})
        found = iter(gathered([cut for part in cuts for cut in part.values()]))
        *parts, heads = [{name: next(found) for name in part} for part in cuts]
        of_blocks, of_fusions = parts[: 2 * len(pairs)], parts[2 * len(pairs) :]
        couples = list(zip(of_blocks[::2], of_blocks[1::2], strict=True))
        return Taken(couples, of_fusions, heads)

    def _fusion(
        self, number: int, kind: str, own: nn.Module, sets: dict[str, Set]
    ) -> dict[str, Cut]:
        """The cuts of a fusion's weights; none for `skip`."""
        shared, cuts = self.widest.fusions[number], fusion(kind).cuts
        return {
            name: Cut(shared.get_parameter(f"{kind}.{name}"), chosen(letters_of(cuts, name), sets))
            for name, _ in own.named_parameters()
        }

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
            cuts[name] = Cut(shared.get_parameter(typed), chosen(letters, sets))
        return cuts

    def _unit(
        self, number: int, row: Block, unit: nn.Module, sets: dict[str, Set]
    ) -> dict[str, Cut]:
        """The cuts of the attention unit after a block; none for the identity."""
        shared, cuts = self.widest.attention[number], UNITS[row.attention].cuts
        return {
            name: Cut(
                shared.get_parameter(f"{row.attention}.{name}"),
                chosen(letters_of(cuts, name), sets),
            )
            for name, _ in unit.named_parameters()
        }


def widest_genotype(space: Space, axes: list[Axes]) -> Genotype:
    """The widest network: all parts of every ring, and attention wherever it is a candidate."""
    first = space.genotype((0,) * len(space.choices), space.name)
    rows = tuple(
        replace(
            group,
            channels=_full(ring.outputs),
            expansion=float(ring.expansions.count * ring.expansions.step),
            attention=max(candidates.attention, key=lambda kind: kind != "none"),
        )
        for group, candidates, ring in zip(first.rows, space.rows, axes, strict=True)
    )
    count = len(space.groups)
    dense = first.dense and replace(first.dense, groups=rows[count:])
    return replace(first, groups=rows[:count], dense=dense)


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
