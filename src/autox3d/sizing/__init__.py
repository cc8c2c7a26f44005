"""Scales a genotype to other sizes. No torch."""
