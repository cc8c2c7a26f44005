"""Finds, trains, tests and ships small video networks (Auto-X3D)."""

__version__ = "0.1.0"
