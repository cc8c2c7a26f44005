"""From raw videos to shards: a change in here decodes the archive again."""
