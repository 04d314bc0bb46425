"""A direction for a behaviour: which one is taken, and when none is found.

Candidates are mean differences of train prompts. On validation prompts a candidate is ablated
everywhere, where the behaviour shows, and added at its own site, where it does not; its effect is
the mean of what the score falls by and of what it rises by. One that breaks the model when it is
ablated (KL on ordinary text above 1 nat per token) does not count, unless there are no others. Of
those with at least three quarters of the largest effect the one that does least damage is taken.

It is a direction for the behaviour if it does not break the model, if it beats random directions of
three families at its site, corrected for the search, and if on test prompts its effect is above
that of every random direction, has an interval above half a nat, and neither removing nor adding
goes the wrong way. Of 60 draws of planted models whose classes are halves of one set none is
called found. (First both intervals had to lie above 0, and half of the best effect was enough to
be taken: on the 0.5B model sentiment and a made-up set then failed with 1.7 [.8, 3.1] nats against
.3 by random ones, and by taking a weak candidate.)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Verdict
from experiments.lab.config import CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import SIGNIFICANCE

NEAR_BEST = 0.75  # of the largest effect
BREAKING = 1.0  # nats per token
MIN_EFFECT = 0.5  # nats
COEFFICIENTS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)  # of the raw difference, for the dose curve

CLAIMS = ()


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One direction for one behaviour."""

    behaviour: str = "refusal"  # a registered name, or a .yaml file of your own
    n_sites: CountOrZero = 8  # candidate sites, evenly spaced, stream pre; 0: all, pre and mid
    n_train: Several = 64  # prompts per class that directions come from, at most
    n_validation: Several = 12  # prompts per class that the direction is chosen on, at most
    n_test: Several = 24  # prompts per class that it is tested on, at most
    n_nulls: Several = 4  # random directions per family
    n_reextractions: CountOrZero = 4  # directions from resampled train prompts
    n_text: Several = 4  # Wikipedia leads, their first 32 tokens


MINUTES = {"smoke": 0.1, "quick": 3, "full": 15}
PRESETS = {
    "smoke": Config(n_sites=2, n_train=12, n_validation=4, n_test=4, n_nulls=3, n_reextractions=1,
                    n_text=2),
    "quick": Config(),
    "full": Config(n_sites=0, n_train=128, n_validation=16, n_test=64, n_nulls=10,
                   n_reextractions=8, n_text=16),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """None: a direction is found or not, which `found` says."""
    return {}


def found(estimates: Mapping[str, Estimate]) -> bool:
    """Whether there is a direction, by the rule at the top of this file."""
    p, effect = estimates["selection.p"].p, estimates["test.effect"]
    beats = effect.value > estimates["test.strongest_null"].value and effect.above(MIN_EFFECT)
    both = all(estimates[f"test.{edit}"].value > 0 for edit in ("removed", "brought"))
    whole = estimates["text.kl"].value <= BREAKING
    return whole and p is not None and p < SIGNIFICANCE and beats and both
