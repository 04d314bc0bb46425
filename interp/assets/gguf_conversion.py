"""GGUF files to folders of bf16 safetensors."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from transformers import AutoConfig, AutoTokenizer, modeling_gguf_pytorch_utils

from interp.assets.checkpoints import quiet_transformers, read_weights
from interp.assets.files import replace_folder
from interp.assets.gguf_header import gguf_errors, read_header


@contextmanager
def rich_bar() -> Iterator[None]:
    """A bar of rich in place of the tqdm one that transformers cannot be told to leave out."""
    reader: Any = modeling_gguf_pytorch_utils
    theirs, console = reader.tqdm, Console(stderr=True)
    reader.tqdm = lambda tensors, **_: track(tensors, "converting", console=console)
    try:
        yield
    finally:
        reader.tqdm = theirs


def convert_gguf(path: Path, folder: Path, sha256: str) -> None:
    """Dequantise a GGUF file to bf16 safetensors with its tokenizer, once; whole or not at all.

    bf16 keeps 8 bits of each weight, well below the error of 4-bit quantisation, and makes float32
    and bf16 runs use the very same weights. Raises ModelError when the file is damaged, or of an
    architecture that transformers does not dequantise.
    """
    header = read_header(path)
    with quiet_transformers():
        with gguf_errors(path), rich_bar():
            source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
            config = AutoConfig.from_pretrained(**source)
            hf_model = read_weights(config, header.n_weights, **source, dtype=torch.bfloat16)
            tokenizer = AutoTokenizer.from_pretrained(**source)
        hf_model.hf_quantizer = None
        if hasattr(hf_model.config, "quantization_config"):
            del hf_model.config.quantization_config
        hf_model.config.architectures = [type(hf_model).__name__]
        described = {"sha256": sha256, "quantisation": header.quantisation}
        with replace_folder(folder) as temporary:
            hf_model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            (temporary / "identity.json").write_text(json.dumps(described, indent=1))
