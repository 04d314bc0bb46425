"""Do the classes part and spread with depth, beyond what chance and the growing norm give?

The notes' three graphs of the last prompt token over layers, at `pre` and `mid`: the cosine of the
class means, and per class the mean and the largest variance of a feature over prompts. "Harmful" is
the positive class of the contrast set, whatever it holds. What the raw graphs hide:

(1) Two sample means are never parallel: permuted labels give 1 - cosine above 0, and more of it in
late layers, so its *excess* over their mean is tested, by the largest over all sites. (2) Norms
grow, and variance with them: the *share*, mean variance over mean squared norm, must grow. (3) One
common offset dominates every state; without the mean of the same prompts two class means are
opposite by construction, so it is taken from the other half, over four random halvings. (4) A few
dimensions hold most of the norm: everything is repeated without the three that hold most of the
pooled mean's squared norm at each site.

Intervals. Cosines: -+ 1.96 bootstrap standard errors over prompts within each class, since
resampling biases 1 - cosine upwards by about the permutation mean. Slopes: percentile bootstrap;
null: the profile shifted circularly against depth; p: rank correlation under the same shifts. The
interval at the site of the largest excess is not corrected for the choice of the site; its p is.

Known. Qwen2.5-32B: cosine about 1.0 early, least 0.56 near layers 56-60, 0.71 at the end.
Qwen2.5-Coder-0.5B: .999 early, .95 at layers 19-21 (.965 at 22 on the registered 4-bit file and the
`refusal` set; why is not known), under permuted labels .9999 to .9966; variance .001 at layer 5,
1.5 at layer 23, `mid` above `pre`, where one dimension holds 55% of the mean's squared norm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import SIGNIFICANCE

N_LARGEST = 3  # dimensions left out, those that hold most of the norm
# Below this share of the squared norm the variance is rounding: the token is the same everywhere.
SMALLEST_SHARE = 1e-10
CLASSES = {"harmful": "positive", "harmless": "negative"}  # and their side of the contrast set

FALL_OF_INTEREST = 0.001
SLOPE_OF_INTEREST = 0.01

CLAIMS = (
    Claim(
        key="01a",
        notes="the clusters are far apart",
        statement=(
            "With depth the mean states of harmful and harmless prompts part: their cosine falls, "
            "beyond chance."
        ),
        criterion=(
            "Measured at the last prompt token, at pre and mid of every layer. Excess = (1 - "
            "cosine) minus its mean over permuted labels; fall = mean excess over the deeper half "
            "of the sites minus that over the shallower half. Supported if the largest excess over "
            f"all sites has p < {SIGNIFICANCE} by the maximum statistic over sites and the 95% "
            "interval of the fall lies above 0. If not, rejected where the upper end of that "
            f"interval is below {FALL_OF_INTEREST}; else inconclusive. The same without the "
            f"{N_LARGEST} largest dimensions is reported and does not decide."
        ),
        estimates=("cosine.fall", "cosine.excess.maximum"),
    ),
    Claim(
        key="01b",
        notes="three graphs: cosine of the class means, mean and maximal variance over layers",
        statement=(
            "With depth the states of each class spread: their variance rises, beyond the growth "
            "of the norm."
        ),
        criterion=(
            "Measured at the last prompt token, at pre and mid of every layer. Slope over depth, "
            "per block, of ln(mean variance / mean squared norm), over the sites where that share "
            f"exceeds {SMALLEST_SHARE}. Supported if its 95% interval lies above 0 in both "
            "classes. If not, rejected where its upper end is below "
            f"{SLOPE_OF_INTEREST} in either; else inconclusive. The same without the {N_LARGEST} "
            "largest dimensions is reported and does not decide."
        ),
        estimates=("variance_slope.harmful", "variance_slope.harmless"),
    ),
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Cosine of the class means and variance over layers."""

    n_prompts: Several | None = 64  # per class, from the whole contrast set; None: all of them
    n_permutations: Count = 200  # of the labels, shared by all sites
    n_resamples: Several = 300  # bootstrap draws over prompts


MINUTES = {"smoke": 0.1, "quick": 0.8, "full": 10}

PRESETS = {
    "smoke": Config(n_prompts=24, n_permutations=100, n_resamples=100),
    "quick": Config(),
    "full": Config(n_prompts=None, n_permutations=2000, n_resamples=2000),
}


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    fall, excess = estimates["cosine.fall"], estimates["cosine.excess.maximum"]
    slopes = [estimates[f"variance_slope.{name}"] for name in CLASSES]
    falls = excess.p is not None and excess.p < SIGNIFICANCE and fall.above(0)
    rises = all(slope.above(0) for slope in slopes)
    return {
        "01a": decide(falls, not falls and fall.below(FALL_OF_INTEREST)),
        "01b": decide(rises, not rises and any(s.below(SLOPE_OF_INTEREST) for s in slopes)),
    }
