"""The format of a clip in a shard, and random access to its frames."""
