"""What a model does: output KL of moved states, refusal odds and answers, in one class.

A planted lab with a known output map brings its own `outputs` with the same methods, and the
experiment does not see the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import Edit, Meter
from interp.curvature.inner_products import Metric, unembedding_covariance
from interp.interventions import Placement
from interp.sites import Site


@dataclass(frozen=True, eq=False)
class MoveTowards:
    """Move a state along the straight segment to a target: h + t (target - h)."""

    target: Float[Tensor, " d_model"]
    fraction: float

    def __call__(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        state = h.float()
        target = self.target.to(h.device, torch.float32)
        return (state + self.fraction * (target - state)).to(h.dtype)


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the lab's model does; every measurement is a cell."""

    lab: Lab

    def unembedding(self) -> Metric:
        """Covariance of the unembedding rows."""
        return unembedding_covariance(self.lab.model)

    def moved_kl(
        self,
        site: Site,
        goals: Float[np.ndarray, "target d_model"],
        bases: Sequence[str],
        steps: Sequence[float],
    ) -> Float[np.ndarray, "step base target"]:
        """KL(base || moved) in nats of the next token.

        The state of each base's last token at the site is moved a share of the way to a goal.
        """
        meter, ends = Meter(self.lab, {"bases": tuple(bases)}), torch.tensor(goals).float()

        def moved(step: float, number: int) -> Float[np.ndarray, " base"]:
            """Every base towards one goal."""
            placement = Placement(MoveTowards(ends[number], step), (site,), (-1,))
            return meter.kl("bases", Edit(f"{site} {step} of the way to {number}", (placement,)))

        return np.stack([np.stack([moved(t, i) for i in range(len(ends))], 1) for t in steps])

    def odds(self, prompts: Sequence[str], name: str) -> Float[np.ndarray, " sample"]:
        """Refusal odds, nats; the name says which prompts these are."""
        return Meter(self.lab, {name: tuple(prompts)}).scores(name).odds

    def refused(self, prompts: Sequence[str], name: str) -> Bool[np.ndarray, " sample"]:
        """Whether the greedy answer declines."""
        answers = Meter(self.lab, {name: tuple(prompts)}).answers(name)
        return np.array([answer == "refused" for answer in answers])


def outputs_of(lab: Lab) -> Outputs:
    """The lab's own outputs, or its model's."""
    return getattr(lab, "outputs", None) or Outputs(lab)


def states_at(lab: Lab, prompts: Sequence[str], site: Site) -> Float[Tensor, "sample d_model"]:
    """States of the last prompt token at one site."""
    return lab.activations(prompts, [site])[:, 0, 0]
