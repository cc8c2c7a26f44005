"""From shards to the tensors that a network takes."""
