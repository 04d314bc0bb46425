"""Inner products that compete with the plain one: whitened and unembedding-weighted.

Each is a symmetric positive semi-definite matrix M: the length of a step v is sqrt(v' M v), and a
state x projects on a mean difference m as x' M m.

- `l2`: M = I.
- `whitened`: M = inverse of the states' within-class covariance on its leading components, one to
  every STATES_PER_COMPONENT states, and the inverse of the mean remaining variance outside. With
  fewer states than dimensions the small eigenvalues are noise, whose inverse would outweigh the
  rest; shrinking all alike (Ledoit and Wolf 2004) leaves the leading ones hardly whitened. The
  projection is then Fisher's discriminant.
- `causal`: M = Cov(g), the covariance over the vocabulary of the unembedding rows times the gain
  of the final norm. It is the inner product of Park, Choe and Veitch (2023, arXiv 2311.03658,
  section 3.2) for states: theirs is x' Cov^-1 y for unembedding vectors, and states are dual.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from interp.models import LoadedModel

INNER_PRODUCTS = ("l2", "whitened", "causal")
STATES_PER_COMPONENT = 5
ROWS = 16384

States = Float[np.ndarray, "sample d_model"]
Metric = Float[np.ndarray, "d_model d_model"]


def whitening(classes: Sequence[States]) -> Metric:
    """Inverse covariance of the states about their own class means, on the leading components."""
    centred = np.concatenate([states - states.mean(axis=0) for states in classes])
    n, width = centred.shape
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    variance = scale**2 / (n - len(classes))
    rank = min(n // STATES_PER_COMPONENT, width)
    rest = variance[rank:].sum() / max(width - rank, 1) or variance[rank - 1]
    inside, outside, leading = 1 / variance[:rank], 1 / rest, axes[:rank]
    return (leading.T * (inside - outside)) @ leading + outside * np.eye(width)


@torch.inference_mode()
def final_gain(model: LoadedModel) -> Float[np.ndarray, " d_model"]:
    """Gain of the final norm per feature, up to one common factor, measured on unit inputs.

    Measured rather than read, since families store it differently (Gemma as gain - 1). A bias of
    the norm cancels.
    """
    width = model.d_model
    inputs = torch.eye(width, device=model.device, dtype=model.dtype)[None] * width
    norm = model.bridge.ln_final
    gain = (norm(inputs) - norm(torch.zeros_like(inputs)))[0].diagonal()
    return gain.float().cpu().double().numpy() / np.sqrt(width)


@torch.inference_mode()
def unembedding_covariance(model: LoadedModel) -> Metric:
    """Covariance over the vocabulary of the unembedding rows times the final norm's gain."""
    total = torch.zeros(model.d_model, model.d_model, dtype=torch.float64)
    mean = model.head.float().mean(dim=0)
    for rows in model.head.split(ROWS):
        centred = rows.float() - mean
        total += (centred.T @ centred).cpu().double()
    gain = final_gain(model)
    return gain[:, None] * (total / len(model.head)).numpy() * gain


def lengths(
    steps: Float[np.ndarray, "*batch d_model"], metric: Metric | None
) -> Float[np.ndarray, "*batch"]:
    """sqrt(v' M v) of each step; None stands for the identity."""
    steps = np.asarray(steps, dtype=np.float64)
    weighted = steps if metric is None else steps @ metric
    return np.sqrt(np.maximum((weighted * steps).sum(axis=-1), 0))


def projections(
    states: States, difference: Float[np.ndarray, " d_model"], metric: Metric | None
) -> Float[np.ndarray, " sample"]:
    """x' M m of each state on a mean difference m."""
    direction = difference if metric is None else metric @ difference
    return np.asarray(states, dtype=np.float64) @ direction


@dataclass(frozen=True, eq=False)
class InnerProducts:
    """What two classes of states give at one site: the metrics, and the difference of the means."""

    metrics: Sequence[Metric | None]  # in the order of INNER_PRODUCTS
    difference: Float[np.ndarray, " d_model"]  # first class minus second

    @classmethod
    def learn(cls, classes: Sequence[States], causal: Metric) -> "InnerProducts":
        """From the states of both classes, and the model's unembedding covariance."""
        first, second = (states.mean(axis=0) for states in classes)
        return cls((None, whitening(classes), causal), first - second)

    def lengths(self, steps: Float[np.ndarray, "*batch d_model"]) -> np.ndarray:
        """Length of each step in each metric, [metric *batch]."""
        return np.stack([lengths(steps, metric) for metric in self.metrics])

    def projections(self, states: States) -> Float[np.ndarray, "metric sample"]:
        """Projection of each state on the difference of the means, in each metric."""
        return np.stack([projections(states, self.difference, m) for m in self.metrics])
