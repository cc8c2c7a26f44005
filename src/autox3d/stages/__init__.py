"""One thin program per stage of dvc.yaml: it reads files, calls one function, writes files."""
