"""From raw videos to shards. A change in this folder makes every video be transcoded again."""
