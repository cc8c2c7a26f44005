"""The search strategies: one file each, which defines a `STRATEGY`."""
