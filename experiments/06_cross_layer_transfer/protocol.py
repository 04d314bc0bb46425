"""06 cross_layer_transfer: does a direction taken at one layer work where it was not taken?

Every source layer's direction is written at single layers and at sets of layers that leave the
source out. Sources and layers are states entering a block (`pre`); the first is left out, since
there the last token of a template is the same in every prompt.

Beyond the protocol: a set shares one dose among its layers, else adding at many layers adds up;
the share of passing sources is judged by its interval, not by its value alone; the threshold is the
highest of the null families' percentiles. Below 20 draws per family a 95th percentile is no more
than the largest draw: with n draws per family, a random direction exceeds all with probability
1 / (3n + 1), which is 1/7 in `quick`; the p-values say so. Sets of layers, which no verdict depends
on, have 10 draws per family in `full` where single layers have 40.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import GATE, lacks_behaviour

Operator = Literal["addition", "ablation"]
OPERATORS: tuple[Operator, ...] = ("addition", "ablation")

CRITERION_DOSE = 0.25
OWN_SHARE = 0.5
SOURCE_SHARE = 0.5
FAR_LAYERS = 4
NULL_PERCENTILE = 95


def criterion(writing: str, effect: str) -> str:
    """The criterion of one operator."""
    return (
        f"{writing} Effect: {effect}. A source layer passes if its median effect over layers "
        f"{FAR_LAYERS} or more away is at least {OWN_SHARE:g} of its effect at its own layer and "
        f"above the {NULL_PERCENTILE}th percentile of the same median in each family of random "
        "directions (isotropic, covariance-matched, label-permuted). The operator counts if the "
        "effect at the own layer is above that percentile for at least "
        f"{SOURCE_SHARE:g} of the sources; if it does not, untestable (no effect at home). "
        "Supported if the 95% bootstrap interval over prompts of the share of passing sources lies "
        f"at {SOURCE_SHARE:g} or above; rejected if it lies below {SOURCE_SHARE:g}; else "
        f"inconclusive. Untestable (behaviour absent) if {GATE}."
    )


CLAIMS = (
    Claim(
        key="06a",
        notes="activations from all layers are on the same space",
        statement="Added at single far layers, a layer's refusal direction induces refusal there.",
        criterion=criterion(
            f"Adding {CRITERION_DOSE:g} of the layer's mean norm at single layers.",
            "rise of the openings score on harmless validation prompts",
        ),
        estimates=("sources_passing.addition", "far_share_of_own.addition"),
    ),
    Claim(
        key="06b",
        notes=(
            "ablation can be applied anywhere and need not to be applied on the layer where it was "
            "extracted"
        ),
        statement="Ablated at single far layers, a layer's refusal direction stops refusal there.",
        criterion=criterion(
            "Ablating at single layers.",
            "drop of the openings score on harmful validation prompts",
        ),
        estimates=("sources_passing.ablation", "far_share_of_own.ablation"),
    ),
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Cross-layer transfer of one direction."""

    n_train: Annotated[int, Ge(5)] = 48  # train prompts per class that directions are taken from
    n_prompts: Several = 6  # validation prompts per class that effects are measured on
    n_sources: Count | None = 6  # source layers, evenly spread over the targets; None is every one
    n_targets: Several | None = 6  # single layers written at, evenly spread; None is every one
    n_set_starts: Count = 1  # first layers of the sets; each gives a window, every second, random
    far_layers: Count = FAR_LAYERS  # a target this far from its source counts as elsewhere
    other_doses: tuple[float, ...] = ()  # further shares of the mean norm to add
    raw: bool = False  # also add the difference as it is, at its own scale
    n_null: Count = 2  # random directions per family and single layer
    n_null_set: Count = 1  # the same for each set of layers, which no verdict depends on
    n_null_other: CountOrZero = 1  # the same for the other doses and the raw difference
    n_null_prompts: Count = 4  # prompts that null effects are measured on
    n_permutations: Count = 2000  # of the regressions
    n_generated: CountOrZero = 0  # cells whose answers are generated as well
    n_generated_null: CountOrZero = 0  # null cells whose answers are generated as well
    max_new_tokens: Count = 32  # length of these answers


MINUTES = {"smoke": 0.1, "quick": 1.2, "full": 138}


PRESETS: dict[str, Config] = {
    "smoke": Config(
        n_train=16, n_prompts=4, n_sources=3, n_targets=3, far_layers=2, n_null=2,
        n_null_prompts=2, n_permutations=50, n_generated=4, n_generated_null=2,
        max_new_tokens=3,
    ),
    "quick": Config(),
    "full": Config(
        n_train=72, n_prompts=32, n_sources=None, n_targets=None, n_set_starts=8,
        other_doses=(0.1,), raw=True, n_null=40, n_null_set=10, n_null_other=4, n_null_prompts=8,
        n_generated=60, n_generated_null=8,
    ),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, from the shares of sources that are present and that pass."""
    found: dict[str, Verdict] = {}
    for claim, operator in zip(CLAIMS, OPERATORS, strict=True):
        passing = estimates[f"sources_passing.{operator}"]
        present = estimates[f"sources_present.{operator}"].value >= SOURCE_SHARE
        found[claim.key] = (
            decide(passing.at_least(SOURCE_SHARE), passing.below(SOURCE_SHARE))
            if present and not lacks_behaviour(estimates)
            else "untestable"
        )
    return found
