"""How does the residual stream grow, and do the layers push it in shared directions?

The notes argue: the stream starts near the origin; each layer moves it by a similar amount, in some
directions, and these are similar between layers; so the norm grows linearly, and the variance, a
distance squared, "exponentially". Each step is a claim of its own, since they can come out apart:
equal steps in one direction give a quadratic, not an exponential.

States are those between blocks (boundaries: what enters block 0, and every block's output), at the
last token of the instruction, where the token differs between prompts; variance is over prompts.
Growth of a layer is the covariance after it minus that before it. Shared subspace: the leading
directions of the summed growth of the even layers, on half of the prompts.

Objections, before the criteria were set, and answers.
- Exponential may beat poor rivals and be poor. It must also come within a factor of two, and grow.
- A decaying exponential beats rivals that only grow. The fitted rate has a margin of its own.
- One dimension that explodes makes any start look near. The ratio must hold without it too.
- The last token is "." or "?": the start would be two vectors. Four tokens are averaged.
- Quartiles are blind to a quarter of the layers at either end. The deciles have a limit as well.
- A fitted subspace holds something of anything. Fit and test share no layer and no prompt; updates
  turned at random, layer by layer, must give less.
- Under exponential growth late layers are most of "the growth". True: 02d is about growth, as the
  notes are; what the subspace holds of each layer's own update is shown, and does not decide.
- Outlier dimensions are shared by construction. In 02e they and the mean are set aside; in 02d they
  are growth like any other, so the share without them is shown.
- Taking out a subspace takes its own variance out by arithmetic. So it does, and the rest could
  grow in its place: norms before each block divide by less. Growth outside it is shown. Where a
  layer writes as much into directions of its own, taking those out must not do the same.
- The directions of one late layer are no shared ones, and taking them out may stop later growth.
  So 02f needs 02d's share as well.
- Overlap of late layers alone may carry the mean. The interval is over layers, the heat map shows.

Objections after the criteria were set, documented and not cured:
- A fitted subspace holds less the fewer prompts it is fitted on (simulated: a true share of .62
  reads .48 on 24, .59 on 100). Few prompts err towards rejecting 02d and 02f; `full` counts.
- An exponential is .1 better than a quadratic only where it grows about sevenfold: a slower one is
  rejected by 02a. Exact exponential growth has unequal steps, so 02a and 02b exclude 02c.
- A fourth outlier dimension would raise the overlap of 02e, and one layer's private directions hold
  little of the whole growth, so that comparison of 02f is weak.

Changed from the common protocol: the second limits of 02a, 02b and 02c above. For 02f writes are
projected by ablation at every state, which computes the same also where a norm follows the matrix.
Known before: a trial, in which the exponential was ahead for the variance (log-RMSE .49, .61;
quadratic 1.5, 1.3), rank 8 held .61, .62 of the growth (without the three largest dimensions .24,
.18), and the quartiles of the steps differed by a factor of 2.6. Added after the first run and not
deciding: 02d's share with the mean, that is of the growth of the mean squared norm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import SIGNIFICANCE

N_LARGEST = 3  # outlier dimensions
N_TOKENS = 4  # over which the norm at the start is averaged
RANK = 8
N_PRIVATE = 4  # subspaces of single layers

LEAST_BETTER = 0.1  # of log-RMSE
LARGEST_ERROR = 0.69  # log-RMSE: a factor of two
LEAST_RATE = 0.01  # per block
NEAR = 0.1
QUARTILES, DECILES = 2, 4  # a log-normal spread with quartiles 2 apart has deciles 3.7 apart
HALF = 0.5
TIMES_CHANCE = 2
LEAST_ODD_GROWTH = 0.1

LAWS = ("exponential", "linear", "quadratic", "power")
GROWING = ("variance", "norm")

CLAIMS = (
    Claim(
        key="02a",
        notes="grows in a near-exponential trajectory",
        statement="Variance and norm of the states grow exponentially over the layers.",
        criterion=(
            "Laws a exp(bl), a + bl, a + bl + cl^2 (coefficients >= 0) and a l^b of block number l "
            "are fitted to the logarithm over the first two thirds of the blocks and scored by "
            "log-RMSE on the others. Supported if, for variance and for norm, the 95% intervals of "
            f"the best rival's error minus the exponential's lie above {LEAST_BETTER}, of the "
            f"exponential's error below {LARGEST_ERROR} (a factor of two), and of its rate b above "
            f"{LEAST_RATE} per block. Rejected if any lies on the other side. Else inconclusive."
        ),
        number="log-error of the best other law minus that of the exponential (variance) "
        f"(wanted: above {LEAST_BETTER})",
        estimates=tuple(f"{of}.{what}" for of in GROWING for what in ("better", "error", "rate")),
    ),
    Claim(
        key="02b",
        notes="start near the origin",
        statement="States enter the first layer with a small part of the norm that they end with.",
        criterion=(
            "Mean norm of what enters the first block over that of what leaves the last, over the "
            f"last {N_TOKENS} tokens of the instruction, in all dimensions and without the "
            f"{N_LARGEST} largest of the mean state. Supported if both 95% intervals lie below "
            f"{NEAR}, rejected if any lies above, else inconclusive."
        ),
        number=f"norm at the first layer over that at the last (wanted: below {NEAR})",
        estimates=("start.norm", "start.norm.without_largest"),
    ),
    Claim(
        key="02c",
        notes="the amount moved by each layer is within a similar range",
        statement="Layers move the state by similar lengths.",
        criterion=(
            "Mean length of every layer's update, without the "
            f"{N_LARGEST} largest dimensions of the mean state. Supported if over layers the 95% "
            f"intervals of the upper over the lower quartile lie below {QUARTILES} and of the "
            f"upper over the lower decile below {DECILES}. Rejected if any lies above. Else "
            "inconclusive."
        ),
        number=f"upper over lower quartile of the lengths of steps (wanted: below {QUARTILES})",
        estimates=("steps.quartiles", "steps.deciles"),
    ),
    Claim(
        key="02d",
        notes="directions are similar between layers",
        statement="Few directions, the same in other layers, hold most of the growth of variance.",
        criterion=(
            f"A subspace of rank {RANK} fitted to the growth on even layers and half of the "
            "prompts; its share of the growth on odd layers and the other prompts. Supported if "
            f"the 95% interval lies above {HALF} and p < {SIGNIFICANCE} against updates rotated at "
            f"random, each layer's in its own way. Rejected if it lies below {HALF}. Else "
            "inconclusive. Untestable unless the growth on odd layers exceeds "
            f"{LEAST_ODD_GROWTH} of the last variance by its 95% interval."
        ),
        number=f"share of the growth that eight shared directions hold (wanted: above {HALF})",
        estimates=("shared.growth", "growth.odd"),
    ),
    Claim(
        key="02e",
        notes="each layer moves in some directions; directions are similar between layers",
        statement="The output matrices of different layers write into similar directions: those "
        "in which the states grow.",
        criterion=(
            f"U: the {RANK} leading left singular vectors of a block's output matrix, after the "
            f"{N_LARGEST} largest dimensions and the mean state are projected out; overlap "
            f"|U'V|^2 / {RANK} over chance ({RANK} / dimensions left). Mean over pairs of "
            "different layers, for attention and for MLP, and mean with the shared subspace of the "
            f"growth. Supported if all three 95% intervals, over layers, lie above {TIMES_CHANCE}, "
            "rejected if any lies below, else inconclusive. Untestable where a norm follows the "
            "output matrices."
        ),
        number="likeness of what layers write to the directions of the growth, in times chance "
        f"(wanted: above {TIMES_CHANCE})",
        estimates=("weights.activations", "weights.attention", "weights.mlp"),
    ),
    Claim(
        key="02f",
        notes="directions are similar between layers",
        statement="Taking the shared directions out halves the growth of variance; others do not.",
        criterion=(
            "Growth: variance after the last block minus that before the first, on prompts that "
            "the subspace was not fitted on. Taken away: 1 - growth with a subspace projected out "
            "of every write / growth. Private subspace of a layer: the leading directions of its "
            "update outside the shared one that hold as much of the update's variance as that "
            f"does; of the {N_PRIVATE} layers where this is most, the mean is taken. Supported if "
            f"the 95% interval lies above {HALF} for the shared, below {HALF} for the private, and "
            f"above {HALF} for the shared subspace's part of the growth on odd layers (02d); "
            "rejected if any lies on the other side; else inconclusive. Untestable unless the "
            f"growth exceeds {HALF} of the last variance by its 95% interval, and where no layer "
            "has such a subspace."
        ),
        number="share of the growth that is lost without the shared directions "
        f"(wanted: above {HALF})",
        estimates=("taken.shared", "taken.private", "shared.growth", "growth.total"),
    ),
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Law of growth of the residual stream, and directions that layers share."""

    n_prompts: Several | None = 24  # per class; None: as many as both classes have
    n_resamples: Several = 200  # bootstrap draws
    n_halvings: Several = 40  # of the prompts, into those to fit on and those to test on
    n_rotations: Annotated[int, Ge(20)] = 40  # of every layer's updates


MINUTES = {"smoke": 0.1, "quick": 0.9, "full": 17}

PRESETS = {
    "smoke": Config(n_prompts=12, n_resamples=40, n_halvings=10, n_rotations=20),
    "quick": Config(),
    "full": Config(n_prompts=None, n_resamples=1000, n_halvings=200, n_rotations=200),
}


ABOVE = {
    **{f"{of}.better": LEAST_BETTER for of in GROWING},
    **{f"{of}.rate": LEAST_RATE for of in GROWING},
    **{f"weights.{of}": TIMES_CHANCE for of in ("attention", "mlp", "activations")},
    "shared.growth": HALF,
    "taken.shared": HALF,
}
BELOW = {
    **{f"{of}.error": LARGEST_ERROR for of in GROWING},
    "start.norm": NEAR,
    "start.norm.without_largest": NEAR,
    "steps.quartiles": QUARTILES,
    "steps.deciles": DECILES,
    "taken.private": HALF,
}


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    found: dict[str, Verdict] = {
        claim.key: judged([estimates[name] for name in claim.estimates]) for claim in CLAIMS
    }
    p = estimates["shared.growth"].p
    if found["02d"] == "supported" and (p is None or p >= SIGNIFICANCE):
        found["02d"] = "inconclusive"
    testable = {
        "02d": estimates["growth.odd"].above(LEAST_ODD_GROWTH),
        "02e": estimates["weights.mlp"].n > 0,
        "02f": estimates["growth.total"].above(HALF) and estimates["taken.private"].n > 0,
    }
    for key in [key for key, able in testable.items() if not able]:
        found[key] = "untestable"
    return found


def judged(estimates: list[Estimate]) -> Verdict:
    """Supported if every interval lies on its side of its limit, rejected if any is across it."""
    sides = [(one.above(limit), one.below(limit)) for one in estimates
             if (limit := ABOVE.get(one.name)) is not None]  # fmt: skip
    sides += [(one.below(limit), one.above(limit)) for one in estimates
              if (limit := BELOW.get(one.name)) is not None]  # fmt: skip
    return decide(all(holds for holds, _ in sides), any(fails for _, fails in sides))
