"""The connection between DVC and Snakemake, and the upkeep of dvc.yaml and dvc.lock."""
