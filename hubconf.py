"""Networks for torch.hub: `torch.hub.load(REPOSITORY, "x3d_s", classes=10)`."""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))

from autox3d import create, list_networks, load  # noqa: F401

dependencies = ["av", "numpy", "pydantic", "safetensors", "torch", "tqdm", "yaml"]
globals().update({name: partial(create, name) for name in list_networks()})
