"""A trained network in use: loaded, asked, exported, timed."""
