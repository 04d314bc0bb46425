"""The residual stream at sites x positions: whole tensors, or streaming mean and variance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.engine.batching import in_batches, token_budget
from interp.engine.body import Body
from interp.engine.packing import pack
from interp.engine.writing import check_placements, check_positions
from interp.errors import ActivationError
from interp.interventions import Placement, positions_of
from interp.models import LoadedModel
from interp.prompts import Prompts, Tokens, tokens_of
from interp.sites import Site, sites_of


@dataclass(frozen=True, eq=False)
class Moments:
    """Streaming statistics over n samples, in float64; variance has divisor n - 1.

    `squared_norm` is the mean of the squared norms.
    """

    n: int
    mean: Float[Tensor, "site pos d_model"]
    variance: Float[Tensor, "site pos d_model"]
    squared_norm: Float[Tensor, "site pos"]

    @property
    def maximum_variance(self) -> Float[Tensor, "site pos"]:
        """Largest variance over the features."""
        return self.variance.amax(-1)


def check_finite(
    activations: Float[Tensor, "sample site pos d_model"], sites: Sequence[Site], name: str
) -> None:
    """Raise ActivationError that names the first site whose activations are not finite."""
    finite = torch.isfinite(activations).all(dim=-1).all(dim=2).all(dim=0)
    if not finite.all():
        site = sites[int((~finite).nonzero()[0, 0])]
        raise ActivationError(
            f"The activations of {name} at {site} hold NaN or infinity. Load the model with "
            "--dtype float32; if that does not help, its weights are damaged."
        )


def capture_batches(
    model: LoadedModel,
    tokens: Tokens,
    edits: Sequence[Placement],
    sites: Sequence[Site],
    positions: Sequence[int],
) -> Iterator[tuple[list[int], Float[Tensor, "sample site pos d_model"]]]:
    """Rows and their float32 activations, batch by batch; checked to be finite.

    Raises ActivationError where they are not, and for no sites, no positions or wrong ones.
    """
    if not (sites and positions):
        raise ActivationError("Nothing is captured at no site or position: expected one or more.")
    check_positions(tokens, positions)
    check_placements(tokens, edits)
    with Body(model, edits, sites) as body:

        def compute(rows: list[int]) -> Float[Tensor, "sample site pos d_model"]:
            """Activations of one batch of prompts."""
            row = pack(tokens[rows])
            places = torch.stack([row.at(position) for position in positions], dim=1)
            body.run(row, places.flatten(), stop=True)
            stacked = torch.stack([body.read[site] for site in sites]).float().cpu()
            return stacked.unflatten(1, places.shape).transpose(0, 1)

        for rows, found in in_batches(tokens, token_budget(model), compute):
            check_finite(found, sites, model.info.name)
            yield rows, found


@torch.inference_mode()
def capture(
    model: LoadedModel,
    prompts: Prompts,
    edits: Sequence[Placement] = (),
    *,
    sites: Sequence[Site | str] | Site | str,
    positions: Sequence[int] | int = (-1,),
) -> Float[Tensor, "sample site pos d_model"]:
    """Activations in float32 on the CPU, in the order of the prompts, sites and positions.

    A single site or position is a list of one. Raises PromptError as `tokenise` does, and
    ActivationError for a site, position or edit that cannot be, and for states that are not finite.
    """
    tokens, sites, positions = tokens_of(model, prompts), sites_of(sites), positions_of(positions)
    shape = (len(tokens), len(sites), len(positions), model.d_model)
    activations = torch.empty(shape)
    for rows, part in capture_batches(model, tokens, edits, sites, positions):
        activations[rows] = part
    return activations


@torch.inference_mode()
def capture_moments(
    model: LoadedModel,
    prompts: Prompts,
    edits: Sequence[Placement] = (),
    *,
    sites: Sequence[Site | str] | Site | str,
    positions: Sequence[int] | int = (-1,),
) -> Moments:
    """Mean and variance without keeping the samples: batches are merged by Chan's update.

    Chan, Golub and LeVeque (1983), eq. 2.1: with d = mean_b - mean_a,
    mean = mean_a + d n_b/n and M2 = M2_a + M2_b + d^2 n_a n_b/n. Raises what `capture` raises.
    """
    tokens, sites, positions = tokens_of(model, prompts), sites_of(sites), positions_of(positions)
    shape = (len(sites), len(positions), model.d_model)
    mean, deviation = torch.zeros(shape).double(), torch.zeros(shape).double()
    squared_norm, n = torch.zeros(shape[:2]).double(), 0
    for rows, part in capture_batches(model, tokens, edits, sites, positions):
        added = len(rows)
        # Site by site, since in float64 all of them at once would be the peak of the memory.
        for i in range(len(sites)):
            values = part[:, i].double()
            gap = values.mean(0) - mean[i]
            squares = (values - values.mean(0)).square().sum(0)
            deviation[i] += squares + gap.square() * (n * added / (n + added))
            mean[i] += gap * (added / (n + added))
            squared_norm[i] += values.square().sum(-1).sum(0)
        n += added
    return Moments(n, mean, deviation / max(n - 1, 1), squared_norm / n)
