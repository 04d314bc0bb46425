"""Directions: a unit vector, the norm it had, and where it came from; from negative to positive."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from interp.activations import capture
from interp.assets.files import replace_file
from interp.errors import ActivationError, raised_as
from interp.interventions import Add, Placement, Positions, RotateTo, Scale, ablate
from interp.models import LoadedModel
from interp.prompts import Prompts
from interp.sites import Site, site_of

Sites = tuple[Site, ...] | None
"""Where to write: sites or their names, or None for everywhere"""


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector [d_model] in float32, the norm of the raw vector, and its provenance."""

    unit: Float[Tensor, " d_model"] = field(repr=False)
    norm: float
    site: Site | None = None
    position: int | None = None
    method: str = ""
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def vector(self) -> Float[Tensor, " d_model"]:
        """The raw vector: unit times norm, in the units of the residual stream."""
        return self.unit * self.norm

    def ablate(self, sites: Sites = None, positions: Positions = "all") -> Placement:
        """Remove the component along the direction: everywhere unless sites are given."""
        return Placement(ablate(self.unit), sites, positions)

    def add(
        self, coefficient: float = 1.0, sites: Sites = None, positions: Positions = "all"
    ) -> Placement:
        """Add `coefficient` times the raw vector: at the direction's own site unless told where.

        Raises ActivationError for a direction that has no site of its own. What is added at one
        layer is still there at the next, so adding everywhere adds up.
        """
        if sites is None and self.site is None:
            raise ActivationError("This direction has no site of its own: say where to add it.")
        places = (self.site,) if sites is None and self.site is not None else sites
        return Placement(Add(coefficient * self.vector), places, positions)

    def scale(self, factor: float, sites: Sites = None, positions: Positions = "all") -> Placement:
        """Multiply the component along the direction; 0 removes it, -1 reflects it."""
        return Placement(Scale(self.unit, factor), sites, positions)

    def rotate(
        self,
        degrees: float,
        towards: Float[Tensor, " d_model"],
        sites: Sites = None,
        positions: Positions = "all",
    ) -> Placement:
        """Turn states, in the plane of the direction and `towards`, to an angle from the direction.

        Everywhere unless sites are given. Raises ActivationError where `towards` is parallel to the
        direction, which leaves no plane.
        """
        b1, b2 = ablate(self.unit, towards).basis
        b1, b2 = (b * torch.sign(b @ v) for b, v in ((b1, self.unit), (b2, towards.to(b2))))
        return Placement(RotateTo(b1, b2, degrees), sites, positions)


def direction_from(
    vector: Float[Tensor, " d_model"],
    method: str,
    site: Site | None = None,
    position: int | None = None,
    provenance: dict[str, str] | None = None,
) -> Direction:
    """Normalise a raw vector; raises ActivationError when it is not finite or has no length."""
    raw = vector.detach().cpu().double()
    if not torch.isfinite(raw).all():
        raise ActivationError(
            f"The {method} direction at {site} is not finite: its activations hold NaN or "
            "infinity. Load the model in float32 and check its residual identities."
        )
    norm = float(raw.norm())
    if norm == 0:
        raise ActivationError(
            f"The {method} direction at {site} is zero: the positive and negative activations have "
            "the same mean there. Expected two different sets; at layer 0.pre the last token is "
            "often the same in every prompt, so choose a later site."
        )
    return Direction((raw / norm).float(), norm, site, position, method, provenance or {})


def cosine(first: Direction, second: Direction) -> float:
    """Cosine of two directions."""
    return float(first.unit.double() @ second.unit.double())


def mean_difference(
    positive: Float[Tensor, "sample d_model"],
    negative: Float[Tensor, "sample d_model"],
    site: Site | None = None,
    position: int | None = None,
) -> Direction:
    """Difference of class means, positive - negative (Arditi et al. 2024, eq. 3)."""
    vector = positive.double().mean(0) - negative.double().mean(0)
    return direction_from(vector, "mean_difference", site, position)


def extract(
    model: LoadedModel,
    positive: Prompts,
    negative: Prompts,
    *,
    site: Site | str,
    position: int = -1,
) -> Direction:
    """The difference of the mean states of two sets of prompts, positive - negative, at a site.

    `position` counts from the prompts' end. Raises ActivationError where the two means are equal:
    at layer 0.pre the last token of a chat template is the same in every prompt.
    """
    states = [
        capture(model, prompts, sites=[site], positions=[position])[:, 0, 0]
        for prompts in (positive, negative)
    ]
    found = mean_difference(*states, site_of(site), position)
    return replace(found, provenance={"model": model.info.name, "sha256": model.info.sha256})


def save_directions(path: Path, directions: Sequence[Direction]) -> None:
    """Save directions to one safetensors file, with their norms and provenance as metadata."""
    tensors = {f"direction.{index}": d.unit.contiguous() for index, d in enumerate(directions)}
    described = [
        {
            "norm": d.norm,
            "site": str(d.site) if d.site else None,
            "position": d.position,
            "method": d.method,
            "provenance": d.provenance,
        }
        for d in directions
    ]
    metadata = {"directions": json.dumps(described)}
    replace_file(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def load_directions(path: Path) -> list[Direction]:
    """Read what `save_directions` wrote; raises ActivationError on another kind of file."""
    advice = "Expected a file of save_directions."
    with (
        raised_as(ActivationError, f"{path} does not hold directions", advice),
        safe_open(path, framework="pt") as file,
    ):
        described = json.loads((file.metadata() or {})["directions"])
        return [
            Direction(
                file.get_tensor(f"direction.{index}"),
                entry["norm"],
                Site.parse(entry["site"]) if entry["site"] else None,
                entry["position"],
                entry["method"],
                entry["provenance"],
            )
            for index, entry in enumerate(described)
        ]
