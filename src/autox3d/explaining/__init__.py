"""Heat maps: where and when a clip shows the evidence for a class."""
