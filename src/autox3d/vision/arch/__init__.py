"""Architectures as tables: what a network is, without torch."""
