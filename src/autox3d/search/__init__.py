"""The architecture search: PARSEC over a space of networks, with a cost term."""
