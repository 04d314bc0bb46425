"""Small hand-set transformers: a random Llama on made-up prompts; worlds replace weights."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from experiments.lab.lab import Lab
from interp.assets.tiny import tiny_tokenizer
from interp.data.prompt_sets import contrast, text_set
from interp.models import LoadedModel, from_huggingface

LETTERS = list("abcdefghijklmnopqrstuvwxyz")


def small_llama(n_layers: int, width: int, seed: int) -> LoadedModel:
    """Four heads, an MLP as wide as the stream, biases (all 0), an untied head.

    Weights have variance 1 / width, so that a matrix keeps the size of what it reads.
    """
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width,
        num_hidden_layers=n_layers, num_attention_heads=4, num_key_value_heads=4,
        tie_word_embeddings=False, initializer_range=width**-0.5, pad_token_id=0,
        bos_token_id=0, eos_token_id=2, attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf_model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    return from_huggingface(hf_model.requires_grad_(False), tokenizer, "planted", random=True)


def made_up_texts(n: int, length: int, rng: np.random.Generator) -> list[str]:
    """Random letters and spaces, one token each; the last is a letter."""
    rows = [[*rng.choice([*LETTERS, " "], length - 1), rng.choice(LETTERS)] for _ in range(n)]
    return ["".join(row) for row in rows]


def small_lab(model: LoadedModel, texts: Sequence[str], seed: int) -> Lab:
    """A lab whose contrast set is one half of the texts against the other."""
    nothing = text_set("nothing", ["Nothing."], "none")
    half = len(texts) // 2
    return Lab(
        model=model,
        contrast=contrast("planted", texts[:half], texts[half:], "none"),
        harmful_test=nothing,
        harmless_test=nothing,
        text=nothing,
        seed=seed,
    )
