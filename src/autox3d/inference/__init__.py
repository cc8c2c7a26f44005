"""Use of a trained network: prediction, export, latency."""
