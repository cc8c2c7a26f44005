"""A search of two small streams in three parts."""

from __future__ import annotations

from typing import Any

from support.spaces import SHAPE

# All candidates of three parts; only the first of them searches widths of the sparse stream.
WHOLE = f"""\
name: whole
{SHAPE}\
  - {{kernel: [t1_s3, t1_s5], expansion: [1.5], channels: [8, 16], blocks: 1, stride: 2,
     squeeze_excite: even, attention: [none, glore]}}
  - {{kernel: [t1_s3], expansion: [1.5, 3.0], channels: [8, 16], blocks: 1, stride: 1,
     squeeze_excite: even, attention: [none, glore]}}
dense:
  alpha: 2
  stem: {{channels: 4, temporal_kernel: 1}}
  head: 8
  groups:
    - {{kernel: [t1_s3, t3_s3], expansion: [1.5], channels: [4, 8], blocks: 1, stride: 2,
       squeeze_excite: none, attention: [none], fuse: [skip, sample]}}
    - {{kernel: [t3_s3], expansion: [1.5], channels: [4, 8], blocks: 1, stride: 1,
       squeeze_excite: none, attention: [none], fuse: [skip, conv, channels]}}
"""
PARTS: dict[str, Any] = {
    "space": "whole.yaml",
    "open": {
        "sparse": {
            "found": "params/scratch",
            "sparse": ["kernel", "expansion", "channels"],
            "dense": [],
        },
        "dense": {
            "found": "results/parts/sparse/derive/genotype.yaml",
            "sparse": [],
            "dense": ["kernel", "expansion", "channels", "fuse"],
        },
        "attention": {
            "found": "results/parts/dense/derive/genotype.yaml",
            "sparse": ["attention"],
            "dense": ["attention"],
        },
    },
    "before": {"sparse": {}, "dense": {}},
}
