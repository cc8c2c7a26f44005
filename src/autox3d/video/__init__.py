"""Videos: which there are, how they are stored, read, cut and mixed. Knows no network."""
