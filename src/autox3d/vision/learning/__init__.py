"""What search and training share: learning rate, optimiser, batch-norm statistics, scores."""
