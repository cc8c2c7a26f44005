"""What several tests share: real files, small networks, workspaces, servers."""
