"""The same work at another scale: random weights in the shape of a 7B model, bf16, on CUDA."""

from math import nan
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from experiments.speed import baselines as plain_ways
from experiments.speed import bounds
from experiments.speed.bounds import Bounds
from experiments.speed.protocol import SPEED_UP
from experiments.speed.timing import alternate
from experiments.speed.works import BRIDGE, ENGINE, Row, Stage
from interp.interventions import Placement, ablate
from interp.models import from_huggingface
from interp.predict import readout
from interp.prompts import tokenise
from interp.sites import everywhere

WORK = "ablate at every site, 7B-shaped random weights, bf16, on CUDA"
MIN_VOCABULARY = 32_000


def large_model(vocabulary: int) -> Any:
    """Llama 2 7B's shape with random weights; the vocabulary is at least `vocabulary`."""
    config = LlamaConfig(
        vocab_size=max(MIN_VOCABULARY, vocabulary),
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=4096,
    )
    with torch.device("cuda"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def measure(stage: Stage) -> dict[str, float]:
    """Seconds of the engine and of the baseline, and the bounds of the speed-up."""
    tokenizer = stage.model.tokenizer
    plain = large_model(len(tokenizer))
    cost = bounds.cost_of(plain, plain_ways.blocks_of(plain))
    model = from_huggingface(plain, tokenizer, "random-7b", random=True)
    tokens = tokenise(model, stage.texts[0], stage.lab.style)
    batch = plain_ways.plain_batch(model, tokens)
    unit = torch.nn.functional.normalize(torch.ones(model.d_model), dim=0)
    placed = [Placement(ablate(unit), tuple(everywhere(model.n_layers)))]
    seconds = alternate(
        {
            ENGINE: [lambda: readout(model, tokens, placed)],
            BRIDGE: [lambda: plain_ways.bridge_log_probs(model, batch, placed)],
        },
        stage.config.repeats,
    )
    best = bounds.speed_up_bounds([(bounds.lengths_of(tokens), 0)], cost)
    return {**seconds, "padded": best.padded, "packed": best.packed}


def cuda_rows(stage: Stage) -> list[Row]:
    """One row; not measured where there is no CUDA."""
    if not torch.cuda.is_available():
        return [Row("", WORK, BRIDGE, nan, nan, nan, SPEED_UP)]
    found = stage.lab.cell("speed/cuda", lambda: measure(stage))
    ratio = found[BRIDGE] / found[ENGINE]
    best = Bounds(found["padded"], found["packed"])
    return [Row("", WORK, BRIDGE, found[ENGINE], found[BRIDGE], ratio, SPEED_UP, best)]
