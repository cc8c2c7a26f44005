"""Training of one network, from scratch or from given weights."""
