"""Multi-view tests of a trained network."""
