"""Do measurements in bfloat16 give what they give in float32? Measured on a sample, by name.

bf16 keeps 8 bits of every number: enough for what a model predicts, not always for small
differences between large states.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.activations import capture
from interp.geometry import mean_cosine, mean_variance
from interp.models import LoadedModel
from interp.prompts import Style, Tokens, tokenise
from interp.scores import kl_divergence, refusal_scores
from interp.sites import Site, all_sites

States = Float[Tensor, "sample site d_model"]

TOLERANCES = {
    "next-token distribution": (0.01, "nats of KL"),
    "openings score": (0.1, "nats"),
    "cosine of class means": (0.001, ""),
    "direction of the class difference": (0.02, "1 - cosine"),
    "variance over prompts": (0.05, "of its value"),
    "distance between prompts": (0.02, "of its value"),
}
"""Largest error on average over prompts, or at the worst site, that is still called safe."""


@dataclass(frozen=True)
class Agreement:
    """How far a measurement in bf16 is from float32; at the worst site, if it has sites."""

    measurement: str
    site: Site | None
    error: float
    tolerance: float
    unit: str

    @property
    def safe(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        where = "" if self.site is None else f" at {self.site}"
        size = f"{self.error:.2g} {self.unit}".strip()
        return f"{self.measurement}{where} is off by {size} (at most {self.tolerance:g} is safe)"


@contextmanager
def in_float32(model: LoadedModel) -> Iterator[None]:
    """The same weights as float32 numbers, inside a `with` block; costs the memory of both."""
    parameters = list(model.hf.parameters())
    kept = [parameter.data for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.data = parameter.data.float()
        yield
    finally:
        for parameter, data in zip(parameters, kept, strict=True):
            parameter.data = data


def agreement(
    model: LoadedModel, positive: Sequence[str], negative: Sequence[str], style: Style = "template"
) -> list[Agreement]:
    """Compare the measurements of TOLERANCES on prompts of two classes; 8 each take seconds.

    Sites are `pre` of every layer but the first, where a template's last token has one state only.
    """
    n, sites = len(positive), all_sites(model.n_layers, ("pre",))[1:]
    tokens = tokenise(model, [*positive, *negative], style)
    found = _measure(model, tokens, sites)
    with in_float32(model):
        wanted = _measure(model, tokens, sites)
    (states, log_probs, openings), (true_states, true_log_probs, true_openings) = found, wanted
    both = states, true_states
    cosine, true_cosine = (mean_cosine(x[:n], x[n:]) for x in both)
    differences = (x[:n].mean(0) - x[n:].mean(0) for x in both)
    errors = {
        "next-token distribution": kl_divergence(true_log_probs, log_probs).mean(),
        "openings score": (openings - true_openings).abs().mean(),
        "cosine of class means": (cosine - true_cosine).abs(),
        "direction of the class difference": 1 - torch.cosine_similarity(*differences, dim=-1),
        "variance over prompts": (mean_variance(states) / mean_variance(true_states) - 1).abs(),
        "distance between prompts": (_distances(states) / _distances(true_states) - 1)
        .abs()
        .mean(1),
    }
    return [
        Agreement(
            name,
            sites[int(error.argmax())] if error.ndim else None,
            float(error.max()),
            *TOLERANCES[name],
        )
        for name, error in errors.items()
    ]


def _measure(
    model: LoadedModel, tokens: Tokens, sites: Sequence[Site]
) -> tuple[States, Tensor, Tensor]:
    """States in float64, next-token log probabilities and openings scores."""
    scores = refusal_scores(model, tokens)
    return capture(model, tokens, sites=sites)[:, :, 0].double(), scores.log_probs, scores.openings


def _distances(states: States) -> Float[Tensor, "site pair"]:
    first, second = torch.triu_indices(len(states), len(states), offset=1)
    return (states[first] - states[second]).norm(dim=-1).T
