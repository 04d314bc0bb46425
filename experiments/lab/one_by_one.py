"""Directions taken one after another: the best one is ablated, the next is what it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, SHOWING, Edit, Meter, share
from interp.activations import capture
from interp.interventions import Placement, ablate
from interp.sites import Site

LEAST = 1e-4  # of a state's norm: a shorter difference of means is rounding
Vector = Float[Tensor, " d_model"]


@dataclass(frozen=True)
class OneByOne:
    """From which prompts and sites directions come, and when to stop.

    A direction is the difference of the classes' mean states at the last token, taken with what was
    found before ablated. Of one per depth (share of the blocks, stream pre) that is taken whose
    ablation beside the others leaves the lowest scores of the meter's set "validation".
    """

    classes: tuple[Sequence[str], Sequence[str]]
    depths: Sequence[float]
    left: float  # share of the set "harmful" that still shows the behaviour

    def answers(self, meter: Meter, most: int) -> list[list[str]]:
        """Classes of the answers to the set "harmful", with 0, 1, 2, ... directions ablated."""
        units: list[Vector] = []
        found = [meter.answers("harmful")]
        while share(found[-1], SHOWING) > self.left and len(units) < most:
            better = self.next(meter, units)
            if better is None:
                break
            units.append(better)
            found.append(meter.answers("harmful", without(units, "kept")))
        return found

    def next(self, meter: Meter, units: Sequence[Vector]) -> Vector | None:
        """The direction that is taken after these; None where nothing parts the classes."""
        found = self.differences(meter.lab, units)
        if not found:
            return None
        tried = {at: without([*units, one], f"tried at {at}") for at, one in found.items()}
        scores = {at: float(meter.scores("validation", edit).mean()) for at, edit in tried.items()}
        return found[min(scores, key=lambda at: scores[at])]

    def differences(self, lab: Lab, units: Sequence[Vector]) -> dict[str, Vector]:
        """Unit vectors by site, with what was found before ablated."""
        depths = sorted({max(1, round(depth * lab.model.n_layers)) for depth in self.depths})
        sites, edits = [Site(depth, "pre") for depth in depths], without(units, "").placements
        tokens = [lab.tokens(list(part)) for part in self.classes]
        states = [capture(lab.model, part, edits, sites=sites)[:, :, 0] for part in tokens]
        gaps = states[0].mean(0) - states[1].mean(0)
        norms = torch.cat(states).norm(dim=-1).mean(0)
        return {
            str(site): gap / gap.norm()
            for site, gap, norm in zip(sites, gaps, norms, strict=True)
            if gap.norm() > LEAST * norm
        }


def without(units: Sequence[Vector], name: str) -> Edit:
    """Ablation of all of them at every state."""
    return Edit(f"{len(units)} {name}", (Placement(ablate(*units)),)) if units else BASE
