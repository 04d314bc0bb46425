"""Tiny random models of every supported family: for tests and the `smoke` preset.

They are built in code and need no network. Their weights are random, so what is measured on them
shows that the mechanics work and is never a finding.
"""

import hashlib
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from interp.errors import ModelError

TINY_RANDOM = "tiny-random"
"""The name to load the tiny llama by."""

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' "
    "+ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_sha256(family: str = "llama", n_layers: int = 4, seed: int = 0, **options: Any) -> str:
    """What identifies the weights of a tiny model: how they are made."""
    others = "".join(f", {name} {options[name]}" for name in sorted(options))
    text = f"{TINY_RANDOM} {family}, {n_layers} layers, width 32, seed {seed}{others}"
    return hashlib.sha256(text.encode()).hexdigest()


TINY_SHA256 = tiny_sha256()


def tiny_tokenizer(template: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: 256 bytes and three special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *alphabet))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        chat_template=TEMPLATE if template else None,
    )


def tiny_config(family: str, vocabulary: int, n_layers: int, tied: bool) -> PretrainedConfig:
    """Configuration of a small model of one family; raises ModelError for an unknown one."""
    shared: Any = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    builders = {
        "llama": lambda: LlamaConfig(**shared),
        "qwen2": lambda: Qwen2Config(**shared),
        "qwen3": lambda: Qwen3Config(**shared, head_dim=8),
        "mistral": lambda: MistralConfig(**shared, sliding_window=None),
        "gemma3": lambda: Gemma3TextConfig(**shared, head_dim=8, sliding_window=64),
        "phi3": lambda: Phi3Config(**shared),
        "phi": lambda: PhiConfig(**shared | {"num_key_value_heads": 4}),
        "gpt2": lambda: GPT2Config(
            vocab_size=vocabulary,
            n_embd=32,
            n_layer=n_layers,
            n_head=4,
            n_positions=512,
            tie_word_embeddings=tied,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=2,
        ),
    }
    if family not in builders:
        raise ModelError(f"No tiny model of family '{family}'; there are {', '.join(builders)}.")
    return builders[family]()


def tiny_huggingface(
    family: str = "llama",
    n_layers: int = 4,
    tied: bool = False,
    seed: int = 0,
    template: bool = True,
    dtype: torch.dtype = torch.float32,
) -> tuple[Any, PreTrainedTokenizerFast]:
    """The plain Hugging Face model and its byte tokenizer, seeded, not yet in a bridge."""
    tokenizer = tiny_tokenizer(template)
    config = tiny_config(family, len(tokenizer), n_layers, tied)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval(), tokenizer
