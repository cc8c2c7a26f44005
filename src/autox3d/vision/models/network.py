"""Builds a video network from its genotype.

B clips, T frames, H x W pixels, P positions of the head's pool
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autox3d.vision.arch.cost import in_words
from autox3d.vision.arch.genotype import Genotype, Head, Stem
from autox3d.vision.models.attention import attention
from autox3d.vision.models.blocks import BLOCKS, DropConnect, block
from autox3d.vision.models.fusion import fusing
from autox3d.vision.models.layers import ConvNorm, Dense, Depthwise, Pointwise, TimeStrided
from autox3d.vision.models.norm import BatchNorm
from autox3d.vision.models.roi import roi_align


class StemLayer(nn.Module):
    """The stem: 1x3x3 convolution with stride 2, depthwise temporal one, batch norm, ReLU."""

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        channels, kernel = stem.channels, stem.temporal_kernel
        self.space = Dense(3, channels, (1, 3), stride=2)
        self.time = Depthwise(channels, (kernel, 1)) if kernel > 1 else nn.Identity()
        self.norm = BatchNorm(channels)
        self.before_norm = "time" if kernel > 1 else "space"  # the convolution before `norm`

    def forward(self, x: Tensor) -> Tensor:
        """Computes the stem's features: (B, 3, T, H, W) -> (B, channels, T, H/2, W/2)."""
        return self.norm(self.time(self.space(x)), "relu")


class Dropout(nn.Module):
    """Dropout of the head's features, (B, P, C), at rate `p`; it may be given its noise."""

    def __init__(self) -> None:
        super().__init__()
        self.p = 0.0
        self.scale: Tensor | None = None  # (B, 1, C), 0 or 1 / (1 - p); None: it draws its own

    def forward(self, x: Tensor) -> Tensor:
        """In training, zeroes numbers with probability p and scales the others by 1 / (1 - p)."""
        if self.scale is None or not (self.training and self.p):
            return F.dropout(x, self.p, self.training)
        return x * self.scale[: len(x)].to(x.dtype)


class HeadLayer(nn.Module):
    """The head: 1x1x1 convolution, average over a window of the training clip, linear layers.

    It is fully convolutional: a larger clip has logits at several positions of the window. With
    boxes, the average over the window is one over time and the maximum over each box. Two streams
    have a convolution and an average each, whose results are put side by side.

    Args:
        dense: of a second stream, its channels in and those of its convolution
        every: frames of the second stream for one of the first
    """

    def __init__(
        self,
        channels_in: int,
        head: Head,
        window: tuple[int, int, int],
        classes: int,
        dense: tuple[int, int] | None = None,
        every: int = 1,
    ) -> None:
        super().__init__()
        self.window, self.every = window, every
        self.conv = ConvNorm(Pointwise(channels_in, head.channels), BatchNorm(head.channels))
        self.dense = dense and ConvNorm(Pointwise(*dense), BatchNorm(dense[1]))
        pooled = head.channels + (dense[1] if dense else 0)
        self.hidden = nn.Linear(pooled, head.hidden, bias=False) if head.hidden else nn.Identity()
        self.dropout = Dropout()
        self.classify = nn.Linear(head.hidden or pooled, classes)

    def forward(
        self, x: Tensor, boxes: Tensor | None = None, dense: Tensor | None = None
    ) -> Tensor:
        """Classifies each position of the window: (B, C, T, H, W) -> logits (B, P, classes).

        Args:
            x: features of the sparse or only stream
            boxes: (B, R, 4), see `roi_align`; the P positions are these R
            dense: features of the dense stream, (B, C_D, T_D, H, W)

        Raises:
            ValueError: the clip is smaller than the training clip, and there are no boxes.
        """
        pooled = self._pooled(self.conv, x, boxes, 1)
        if self.dense is not None:
            assert dense is not None, "a head over two streams needs the features of both"
            pooled = torch.cat([pooled, self._pooled(self.dense, dense, boxes, self.every)], 2)
        return self.classify(self.dropout(F.relu(self.hidden(pooled))))

    def expect(self, shares: Tensor, clips: int) -> None:
        """Lets each class start from its share among the training clips (arXiv:1708.02002, 4.1).

        From zero, the first steps push all logits down through every weight of the head.

        Args:
            shares: (classes,)
            clips: their number; a class that none of them, or each, has is half a clip from that
        """
        least = 0.5 / clips
        with torch.no_grad():
            self.classify.bias.copy_(shares.clamp(least, 1 - least).logit())

    def _pooled(self, conv: nn.Module, x: Tensor, boxes: Tensor | None, every: int) -> Tensor:
        """A stream's features at each position or in each box: (B, C, T, H, W) -> (B, P, C')."""
        x = conv(x, "relu")
        if boxes is not None:
            return in_boxes(x, boxes)
        window = self.window[0] * every, *self.window[1:]
        if any(size < least for size, least in zip(x.shape[2:], window, strict=True)):
            raise ValueError(
                f"the clip leaves {tuple(x.shape[2:])} frames and cells, fewer than the head's "
                f"window {window}: it must be no smaller than the training clip"
            )
        return window_mean(x, window).flatten(2).transpose(1, 2)


def in_boxes(x: Tensor, boxes: Tensor) -> Tensor:
    """The mean over time, and of it the maximum over each box: (B, C, T, H, W) -> (B, R, C).

    A box is the same in all frames and RoIAlign is linear, so that the mean may come first.
    """
    return roi_align(x.mean(2), boxes).amax((3, 4))


def window_mean(x: Tensor, window: tuple[int, int, int]) -> Tensor:
    """Averages (B, C, T, H, W) over each position of a window of T x H x W cells, stride 1."""
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:  # no such kernel on a CPU
        return F.avg_pool3d(x.float(), window, stride=1).to(x.dtype)
    return F.avg_pool3d(x, window, stride=1)


class VideoNet(nn.Module):
    """A video network: stem, residual blocks with the genotype's attention units, head.

    A network of two streams has two stems, and fusions of its dense stream into its sparse one.

    Args:
        genotype: the architecture; its input sizes fix the window of the head's average pool
        classes: number of classes
    """

    def __init__(self, genotype: Genotype, classes: int) -> None:
        super().__init__()
        self.genotype = genotype
        rows, dense = genotype.blocks(), genotype.dense
        self.every = tuple(stream.every for stream in genotype.streams)
        self.steps = genotype.steps()
        self.stem = StemLayer(genotype.stem)
        self.blocks = nn.ModuleList(block(row, genotype.block) for row in rows)
        nodes = genotype.attention.nodes
        self.attention = nn.ModuleList(attention(r.attention, r.channels, nodes) for r in rows)
        self.dense_stem = StemLayer(dense.stem) if dense else None
        self.fusions = nn.ModuleList(fusing(*fused) for fused in genotype.fusions)
        window = genotype.streams[0].input.frames, genotype.pool, genotype.pool
        second = (rows[-1].channels, dense.head) if dense else None
        width, every = genotype.groups[-1].channels, self.every[0]
        self.head = HeadLayer(width, genotype.head, window, classes, second, every)
        self.apply(initialise_layer)
        nn.init.normal_(self.head.classify.weight, std=0.01)

    def forward(self, clips: Tensor | Sequence[Tensor], boxes: Tensor | None = None) -> Tensor:
        """Computes logits (B, P, classes) of normalised clips (B, 3, T, H, W).

        P is 1 at the training crop. A task turns logits into scores.

        Args:
            clips: a tensor, of which a sparse stream takes every alpha-th frame; or a sequence
                with one tensor per stream
            boxes: (B, P, 4), x1, y1, x2, y2 as shares of the clip's width and height; the logits
                are then those of the boxes
        """
        stems = (self.stem, self.dense_stem) if self.dense_stem else (self.stem,)
        x = [stem(one) for stem, one in zip(stems, of_streams(clips, self.every), strict=True)]
        for stream, number, fuses in self.steps:
            if fuses:
                x[0] = x[0] + self.fusions[number](x[1])
            else:
                x[stream] = self.attention[number](self.blocks[number](x[stream]))
        return self.head(x[0], boxes, *x[1:])

    def extra_repr(self) -> str:
        """The name and the cost, as the first line of what `print` shows."""
        return in_words(self.genotype, self.head.classify.out_features)


def create(genotype: Path | str, classes: int = 400) -> VideoNet:
    """Builds a network with random weights: `create("x3d_s", classes=10)`.

    Its input are normalised clips (B, 3, T, H, W), its output logits (B, P, classes).

    Args:
        genotype: a name of `autox3d.list_networks()`, a file, or a folder of weights, whose
            architecture is taken

    Raises:
        Refused: there is no such network, or its file has a mistake.
    """
    return VideoNet(Genotype.load(Path(genotype)), classes)


def of_streams(clips: Tensor | Sequence[Tensor], every: Sequence[int]) -> list[Tensor]:
    """Lists the clips of each stream, in channels_last_3d.

    Args:
        clips: a tensor with all frames, or one for each stream
        every: of a tensor, each stream takes every so many-th frame

    Raises:
        ValueError: the number of streams is another one.
    """
    if isinstance(clips, Tensor):
        streams = [clips if step == 1 else clips[:, :, ::step] for step in every]
    else:
        streams = list(clips)
    if len(streams) != len(every):
        raise ValueError(f"clips of {len(streams)} streams for a network that has {len(every)}")
    return [one.contiguous(memory_format=torch.channels_last_3d) for one in streams]


def initialise_layer(layer: nn.Module) -> None:
    """Initialises weights by He et al.'s normal distribution (fan out), and biases to 0.

    This includes linear layers, which are 1x1x1 convolutions after a pool or between nodes. The
    last one is initialised by `VideoNet`.
    """
    if isinstance(layer, (Pointwise, Depthwise, Dense, TimeStrided, nn.Linear)):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(layer, (Pointwise, nn.Linear)) and layer.bias is not None:
        nn.init.zeros_(layer.bias)


def set_training(
    net: nn.Module, *, bn_clips: int, dropout: float = 0.0, drop_connect: float = 0.0
) -> None:
    """Sets the regularisation that acts only in training, for a network or a supernet.

    Args:
        net: modified in place
        bn_clips: clips that share batch-norm statistics
        dropout: rate before the last layer
        drop_connect: rate at which a clip skips a residual branch
    """
    for layer in net.modules():
        if isinstance(layer, BatchNorm):
            layer.clips = bn_clips
        elif isinstance(layer, HeadLayer):
            layer.dropout.p = dropout
        elif isinstance(layer, DropConnect):
            layer.rate = drop_connect


def open_branches(net: nn.Module, gamma: float) -> None:
    """Sets the scale of each residual branch's last batch norm to `gamma`, 0 in X3D's code.

    At 0 the weights of a branch get no gradient until gamma has moved, which takes more steps than
    a short training has. Attention units still start at 0, as the identity.
    """
    kinds = tuple(BLOCKS.values())
    for part in net.modules():
        if isinstance(part, kinds):
            for layer in part.modules():
                if isinstance(layer, BatchNorm) and layer.gamma == 0:
                    nn.init.constant_(layer.weight, gamma)
