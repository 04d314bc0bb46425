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
from experiments.lab.meter import Meter
from interp.agreement import in_float32
from interp.curvature.inner_products import Metric, unembedding_covariance
from interp.interventions import Placement
from interp.predict import readout
from interp.prompts import Tokens
from interp.scores import kl_divergence
from interp.sites import Site


class RowsApartError(Exception):
    """The rows of a pass were run in several ones."""


@dataclass(frozen=True, eq=False)
class MoveTowards:
    """Move the state of every row along the straight segment to its target: h + t (target - h).

    Raises RowsApartError where it is not given all rows at once.
    """

    targets: Float[Tensor, "row d_model"]
    fractions: Float[Tensor, " row"]

    def __call__(self, h: Float[Tensor, "*row d_model"]) -> Float[Tensor, "*row d_model"]:
        if h.numel() != self.targets.numel():
            raise RowsApartError
        state = h.float().reshape(self.targets.shape)
        share = self.fractions.to(h.device)[:, None]
        moved = state + share * (self.targets.to(h.device) - state)
        return moved.reshape(h.shape).to(h.dtype)


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
        key = f"KL on the way from {site} of base"
        with in_float32(self.lab.model):  # the rounding of bfloat16 is a KL of its own
            found = [
                self.lab.cell(f"{key} {i}", lambda text=text: self._kl(site, goals, text, steps))
                for i, text in enumerate(bases)
            ]
        return np.array(found).swapaxes(0, 1)

    def _kl(
        self, site: Site, goals: np.ndarray, base: str, steps: Sequence[float]
    ) -> list[list[float]]:
        """From one base, by step and goal.

        One pass: what lies before the last token is the same in all rows, and runs once. The first
        row stays where it is.
        """
        (*before, last), n = self.lab.tokens([base]).sequences()[0], 1 + len(steps) * len(goals)
        rows = torch.full((n, 1), last)
        tokens = Tokens(torch.tensor(before), rows, torch.ones_like(rows))
        ends = torch.tensor(np.concatenate([goals[:1], np.tile(goals, (len(steps), 1))])).float()
        shares = torch.tensor([0.0, *np.repeat(steps, len(goals))]).float()
        log_probs = self._moved(site, tokens, ends, shares)
        kl = kl_divergence(log_probs[:1], log_probs[1:])
        return kl.reshape(len(steps), len(goals)).tolist()

    def _moved(
        self,
        site: Site,
        tokens: Tokens,
        targets: Float[Tensor, "row d_model"],
        fractions: Float[Tensor, " row"],
    ) -> Float[Tensor, "row vocab"]:
        """Log probabilities of the next token."""
        placement = Placement(MoveTowards(targets, fractions), (site,), (-1,))
        try:
            return readout(self.lab.model, tokens, [placement]).log_probs
        except RowsApartError:  # a family or hooks that are run row by row, or little memory
            rows = [slice(i, i + 1) for i in range(len(tokens))]
            return torch.cat([self._moved(site, tokens[i], targets[i], fractions[i]) for i in rows])

    def odds(self, prompts: Sequence[str], name: str) -> Float[np.ndarray, " sample"]:
        """Refusal odds, nats; the name says which prompts these are."""
        return Meter(self.lab, {name: tuple(prompts)}).scores(name)

    def refused(self, prompts: Sequence[str], name: str) -> Bool[np.ndarray, " sample"]:
        """Whether the answer shows the behaviour: a greedy one declines, for refusal."""
        return np.array(Meter(self.lab, {name: tuple(prompts)}).shown(name))


def outputs_of(lab: Lab) -> Outputs:
    """The lab's own outputs, or its model's."""
    return getattr(lab, "outputs", None) or Outputs(lab)


def states_at(lab: Lab, prompts: Sequence[str], site: Site) -> Float[Tensor, "sample d_model"]:
    """States of the last prompt token at one site."""
    return lab.activations(prompts, [site])[:, 0, 0]
