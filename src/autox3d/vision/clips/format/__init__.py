"""The format of a clip in a shard, and its frames by random access."""
