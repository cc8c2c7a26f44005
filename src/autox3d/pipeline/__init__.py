"""The tie between DVC and Snakemake."""
