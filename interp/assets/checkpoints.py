"""Tokenizer and weights of a folder, read by transformers without remote code."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from interp.errors import ModelError, raised_as


def read_folder(folder: Path, name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Tokenizer and Hugging Face model of a folder, from safetensors only, without remote code."""
    with raised_as(
        ModelError,
        f"'{name}' could not be loaded from {folder}",
        "Expected config.json, safetensors weights and tokenizer files of a causal language model; "
        "if they are there, one is damaged: download the folder again.",
    ):
        source = {"pretrained_model_name_or_path": folder, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(**source)
        n_weights = sum(map(count_stored, weight_files(folder)))
        hf_model = read_weights(config, n_weights, **source, dtype=dtype, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(**source)
    return tokenizer, hf_model


def read_weights(config: Any, n_weights: int, **source: Any) -> Any:
    """The Hugging Face model of a source that holds `n_weights` weights.

    Raises ValueError when the model has others: transformers would fill them at random, and take
    the memory for it first.
    """
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    wanted = sum(weight.numel() for weight in empty.parameters())
    packed = hasattr(config, "quantization_config")
    if wanted > n_weights and not packed:
        raise ValueError(f"its configuration asks for {wanted:,} weights, but it has {n_weights:,}")
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        **source, config=config, output_loading_info=True
    )
    hf_model, report = loaded
    if report["missing_keys"]:
        raise ValueError(f"it has no {', '.join(sorted(report['missing_keys']))}")
    return hf_model


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder."""
    return sorted(path for path in folder.glob("*.safetensors") if path.is_file())


def count_stored(path: Path) -> int:
    """The number of weights in a safetensors file, by its header."""
    with safe_open(path, "pt") as file:
        return sum(math.prod(part.get_shape()) for part in map(file.get_slice, file.keys()))


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep progress bars and advice of other libraries out of the user's terminal."""
    verbosity = transformers_logging.get_verbosity()
    root = logging.getLogger()
    level = root.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        root.setLevel(level)
