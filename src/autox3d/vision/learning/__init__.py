"""Code shared by search and training: learning rate, optimiser, batch-norm statistics, scores."""
