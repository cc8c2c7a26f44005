"""One thin program a stage of dvc.yaml: reads files, calls one function, writes files."""
