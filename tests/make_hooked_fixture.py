"""Make `fixtures/hooked_transformer.safetensors` with the last `HookedTransformer`.

Run once, in an environment of its own, because this project's TransformerLens no longer has it:

    python -m venv hooked && hooked/bin/pip install torch==2.13.0 "transformer-lens==3.9.*"
    hooked/bin/python tests/make_hooked_fixture.py

The file holds the weights of a tiny seeded Llama, the residual stream of one prompt at `pre`,
`mid` and `post` of every layer, and the logits after a vector was added at each stream of layer 1.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import LlamaConfig, LlamaForCausalLM

LAYERS, WIDTH, HEADS, INNER, VOCABULARY, CONTEXT = 3, 16, 2, 24, 40, 32
PROMPT = torch.tensor([[3, 17, 5, 29, 11, 2, 38]])


def tiny_llama() -> LlamaForCausalLM:
    """A seeded Llama without grouped heads."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def hooked(llama: LlamaForCausalLM) -> HookedTransformer:
    """The same weights in a HookedTransformer, neither folded nor centred."""
    config = HookedTransformerConfig(
        n_layers=LAYERS,
        d_model=WIDTH,
        n_heads=HEADS,
        d_head=WIDTH // HEADS,
        d_mlp=INNER,
        n_ctx=CONTEXT,
        d_vocab=VOCABULARY,
        act_fn="silu",
        normalization_type="RMS",
        eps=llama.config.rms_norm_eps,
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        rotary_dim=WIDTH // HEADS,
        rotary_base=10000,
        final_rms=True,
        gated_mlp=True,
        n_key_value_heads=HEADS,
        original_architecture="LlamaForCausalLM",
        default_prepend_bos=False,
    )
    model = HookedTransformer(config)
    model.load_state_dict(convert_llama_weights(llama, config), strict=False)
    return model


@torch.no_grad()
def main() -> None:
    """Record reads and writes, and check that the two libraries agree on the plain logits."""
    llama = tiny_llama()
    model = hooked(llama)
    logits, cache = model.run_with_cache(PROMPT)
    assert torch.allclose(logits, llama(PROMPT).logits, atol=1e-4)
    generator = torch.Generator().manual_seed(1)
    vector = torch.randn(WIDTH, generator=generator)
    recorded = {f"weight.{name}": w.clone() for name, w in llama.state_dict().items()}
    recorded |= {"prompt": PROMPT, "vector": vector, "logits": logits}
    for stream in ("pre", "mid", "post"):
        for layer in range(LAYERS):
            name = f"blocks.{layer}.hook_resid_{stream}"
            recorded[f"read.{layer}.{stream}"] = cache[name]
        add = [(f"blocks.1.hook_resid_{stream}", lambda h, hook: h + vector)]
        recorded[f"written.1.{stream}"] = model.run_with_hooks(PROMPT, fwd_hooks=add)
    path = Path(__file__).parent / "fixtures" / "hooked_transformer.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file({name: t.clone().contiguous() for name, t in recorded.items()}, path)


if __name__ == "__main__":
    main()
