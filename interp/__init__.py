"""Thin tools for residual-stream geometry over TransformerLens: tensors in, tensors out."""

import os

# oneDNN compiles a matrix product for every number of rows that it meets, and packed prompts make
# hundreds. It and PyTorch each keep the last 1,024, at .7 MB apiece: most of what streaming
# statistics would need beside the weights. Both read these variables when they first multiply.
for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")
