"""PARSEC with a cost term: tensors in, tensors out."""
