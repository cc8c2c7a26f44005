"""Networks as torch modules: tensors in, tensors out."""
