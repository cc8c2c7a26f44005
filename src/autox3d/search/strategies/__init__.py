"""How a search chooses: a file a strategy, each with a `STRATEGY`."""
