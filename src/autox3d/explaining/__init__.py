"""Where and when a network saw the evidence for a class."""
