"""The tests' small networks and spaces: clips of 4 frames of 32 px, few channels, few groups."""

from __future__ import annotations

SHAPE = """\
input: {frames: 4, stride: 2, crop: 32, short: 32}
stem: {channels: 8, temporal_kernel: 1}
expansion_of: in
block: {first: relu, second: swish, depthwise: true}
attention: {placement: after_group, nodes: 0.25}
head: {channels: 16, hidden: 16}
groups:
"""
# One group of two blocks, with and without GloRe behind it.
GENOTYPE = f"""\
name: s
{SHAPE}\
  - {{kernel: t3_s3, expansion: 1.5, channels: 8, blocks: 2, stride: 2, squeeze_excite: even,
     attention: glore}}
"""
PLAIN = GENOTYPE.replace("glore", "none")
# Two groups: 2 kernels, 2 expansions, 2 widths and a unit in the first, 2 kernels and 2 widths in
# the second.
SPACE = f"""\
name: tiny
{SHAPE}\
  - {{kernel: [t1_s3, t3_s3], expansion: [1.5, 3.0], channels: [8, 16],
     blocks: 1, stride: 2, squeeze_excite: even, attention: [none, glore]}}
  - {{kernel: [t1_s3, t5_s3], expansion: [1.5], channels: [8, 16],
     blocks: 2, stride: 1, squeeze_excite: even, attention: [none]}}
"""
# Its first group alone, of two blocks: one row, so that a test can change a word of it.
ONE_GROUP = f"""\
name: small
{SHAPE}\
  - {{kernel: [t1_s3, t3_s3], expansion: [1.5, 3.0], channels: [8, 16],
     blocks: 2, stride: 2, squeeze_excite: even, attention: [none, glore]}}
"""
# Three widths and a UNIT to be named: what its sets of channels are can be worked out by hand.
THREE_WIDTHS = f"""\
name: small
{SHAPE}\
  - {{kernel: [t1_s3], expansion: [1.5, 3.0], channels: [4, 8, 12],
     blocks: 2, stride: 2, squeeze_excite: none, attention: [none, UNIT]}}
"""
