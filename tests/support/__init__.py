"""What several tests share: real files, small networks, workspaces, servers."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the repository
ARCHITECTURES = ROOT / "architectures"
