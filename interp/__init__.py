"""Thin tools for residual-stream geometry over TransformerLens: tensors in, tensors out."""
