"""Training and evaluation of one network: tensors in, tensors out."""
