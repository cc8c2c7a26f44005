"""Networks as torch modules, their weights and model cards."""
