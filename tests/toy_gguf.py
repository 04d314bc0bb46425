"""A small valid GGUF file, written with the gguf package: a Llama with a byte-level vocabulary."""

from pathlib import Path

import gguf
import numpy as np

from interp.assets.tiny import SPECIAL, TEMPLATE, tiny_tokenizer

WIDTH, INNER, HEADS, KEY_VALUE_HEADS = 16, 32, 4, 2


def write_gguf(path: Path, n_layers: int = 1) -> Path:
    """The file, with every kind of field that the files of real models have."""
    vocabulary = sorted(tiny_tokenizer().get_vocab().items(), key=lambda item: item[1])
    tokens = [token for token, _ in vocabulary] + ["ab", "cd"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("toy")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(n_layers)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(0)
    for name, shape in _shapes(len(tokens), n_layers).items():
        writer.add_tensor(name, rng.normal(size=shape).astype(np.float32) * 0.2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(vocabulary: int, n_layers: int) -> dict[str, tuple[int, ...]]:
    key_value = WIDTH * KEY_VALUE_HEADS // HEADS
    block = {
        "attn_norm": (WIDTH,),
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (key_value, WIDTH),
        "attn_v": (key_value, WIDTH),
        "attn_output": (WIDTH, WIDTH),
        "ffn_norm": (WIDTH,),
        "ffn_gate": (INNER, WIDTH),
        "ffn_up": (INNER, WIDTH),
        "ffn_down": (WIDTH, INNER),
    }
    names = {
        f"blk.{i}.{name}.weight": shape for i in range(n_layers) for name, shape in block.items()
    }
    return {"token_embd.weight": (vocabulary, WIDTH), "output_norm.weight": (WIDTH,)} | names
