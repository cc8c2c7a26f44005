"""Estimates of what a pipeline will cost, made before it runs."""
