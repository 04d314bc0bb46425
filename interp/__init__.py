"""Residual-stream geometry over TransformerLens: strings or tokens in, tensors and answers out.

    import interp

    model = interp.load("qwen2.5-coder-0.5b")        # model.bridge: the TransformerBridge
    refusal = interp.extract(model, harmful, harmless, site="17.mid")
    print(interp.answers(model, harmful, [refusal.ablate()]))

Everything takes `(model, prompts, edits=(), *, ...)`. Names are loaded when they are first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# oneDNN compiles a matrix product for every number of rows that it meets, and packed prompts make
# hundreds. It and PyTorch each keep the last 1,024, at .7 MB apiece: most of what streaming
# statistics would need beside the weights. Both read these variables when they first multiply.
for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")
# Threads that wait for others spin by default: beside another busy process a pass takes several
# times as long. OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from interp.activations import Moments, capture, capture_moments
    from interp.behaviours import Behaviour, behaviour
    from interp.directions import Direction, extract, load_directions, save_directions
    from interp.errors import InterpError
    from interp.generation import answers, generate
    from interp.interventions import Placement, ablate
    from interp.models import LoadedModel, load, wrap
    from interp.predict import Readout, readout, text_damage
    from interp.prompts import Tokens, tokenise
    from interp.scores import kl_divergence, refusal_scores
    from interp.sites import Site
    from interp.weights import orthogonalised
    from interp.writes import hooks

_FACE = {
    "Behaviour": "interp.behaviours",
    "Direction": "interp.directions",
    "InterpError": "interp.errors",
    "LoadedModel": "interp.models",
    "Moments": "interp.activations",
    "Placement": "interp.interventions",
    "Readout": "interp.predict",
    "Site": "interp.sites",
    "Tokens": "interp.prompts",
    "ablate": "interp.interventions",
    "answers": "interp.generation",
    "behaviour": "interp.behaviours",
    "capture": "interp.activations",
    "capture_moments": "interp.activations",
    "extract": "interp.directions",
    "generate": "interp.generation",
    "hooks": "interp.writes",
    "kl_divergence": "interp.scores",
    "load": "interp.models",
    "load_directions": "interp.directions",
    "orthogonalised": "interp.weights",
    "readout": "interp.predict",
    "refusal_scores": "interp.scores",
    "save_directions": "interp.directions",
    "text_damage": "interp.predict",
    "tokenise": "interp.prompts",
    "wrap": "interp.models",
}
__all__ = [*_FACE]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'interp' has no attribute '{name}'")
    return getattr(import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
