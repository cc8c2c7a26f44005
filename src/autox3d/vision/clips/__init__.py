"""Reading clips: from shards to the tensors that a network takes."""
