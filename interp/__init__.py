"""Thin tools for residual-stream geometry over TransformerLens: tensors in, tensors out."""

import os

# oneDNN compiles a matrix product for every number of rows it meets, and rows of packed prompts have
# hundreds of lengths. It and PyTorch each keep the last 1,024 of them, at .7 MB each; that would be
# most of what streaming statistics hold. Both read these when they first multiply.
for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")
