"""Do different directions represent different behaviours, or varying effects of one?

Each registered behaviour (`interp.behaviours`) has prompts that show it or do not, a score of the
answer in nats, and a direction: the difference of the class means at the last token, from train
prompts. All are compared at one site, the stream entering the block at two thirds of the depth,
fixed after a pilot in which the 0.5B's refusal and sentiment could be steered from there on.
Directions take part whose own behaviour can be read from the score (validation prompts) and moved
(test prompts). What a vector moves a score by is the mean over both classes of test prompts: the
rise where it is added and the behaviour is not shown, the fall where it is subtracted and it is.
What breaks the model falls out of that mean, as far as both classes lose alike by it.

Objections, and what was done:
- Few prompts make any two directions unlike: the cosine is divided by what the noise of either
  leaves of it. That noise is known from the spread within the classes, without a choice of halves.
- "Unlike" is cheap in many dimensions. So the most alike of all pairs decides, against .7 (45
  degrees), and 10b asks the model, not the geometry, with the same margin.
- The largest of many noisy numbers is too large: its upper limit is the largest upper limit, its
  lower limit the largest of lower limits that are corrected for the number of pairs.
- A behaviour that cannot be measured or moved proves nothing, and one that hardly moves makes any
  leak large: both are left out, by name.
- Scores have units of their own: behaviours are compared on one score, on the same prompts and at
  the same length. In units of own effects this is the comparison over scores, too.
- In 10c random directions, with no effect and no cosine, would make any line fit: all directions
  are of refusal. Halves of the prompts are hardly less than 1 alike: handfuls of four have a range.
- Neighbouring layers are alike in all: layers, positions and handfuls weigh the same, and the
  bootstrap redraws them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import SIGNIFICANCE

BEHAVIOURS = ("refusal", "sentiment", "register", "persona", "syntax", "truth", "sycophancy")
VARIED = "refusal"  # of which 10c takes many directions
DEPTH = 2 / 3  # of the blocks: the common site
OTHERS = {"third": 1 / 3, "half": 1 / 2}  # of the blocks, where cosines are shown too
CHANCE = 0.5  # of a score that tells nothing
MIN_OWN = 0.1  # nats
MIN_RELIABILITY = 0.5
MIN_BEHAVIOURS = 3
SAME = 0.7  # a cosine of 45 degrees, and what it leaves of an effect where the model is linear
FEW = 4  # prompts per class of a handful
MIN_SHARE = 0.5
MIN_SPREAD = 0.1
MIN_VARIANTS = 8

COUNTS = (
    f"A behaviour of {', '.join(BEHAVIOURS)} counts if (1) on validation prompts its score tells "
    "those that show it from those that do not (AUROC; of a choice the share of questions answered "
    f"with it): 95% interval above {CHANCE}; (2) its own direction, with its own length, moves its "
    f"score on test prompts by an interval above {MIN_OWN} nats, more than any random direction "
    "of that length (isotropic, covariance-matched, label-permuted) and than a one-sided t "
    f"prediction limit from them (p < {SIGNIFICANCE}); (3) the cosine expected with its direction "
    f"from as many other prompts has an interval above {MIN_RELIABILITY}."
)
GATE = f"{COUNTS} Untestable with fewer than {MIN_BEHAVIOURS} behaviours that count."
LARGEST = (
    "Upper limit: the largest of the pairs' 97.5% limits; lower: the largest of their 2.5% limits, "
    "corrected for the number of pairs (Bonferroni)."
)
NOTES = "different directions represents different behaviour or varying effects of one behaviour"

CLAIMS = (
    Claim(
        key="10a", notes=NOTES,
        statement="Different behaviours have different directions.",
        criterion="|cosine| of two behaviours' directions at the common site, over the geometric "
        "mean of the cosines that each would have with itself from as many other prompts, at most "
        "1. Of the pair of which it is largest: supported if its 95% interval lies below "
        f"{SAME} (so that different behaviours are less alike than halves of the prompts of one), "
        f"rejected if above, else inconclusive. By random halves of the train prompts. {LARGEST} "
        f"{GATE}",
        number="cosine, without noise, of the two behaviours most alike",
        estimates=("alike.largest", "behaviours"),
    ),
    Claim(
        key="10b", notes=NOTES,
        statement="Each direction moves its own behaviour more than the others do.",
        criterion="What direction i, given the length of direction j, moves the score of behaviour "
        "j by on test prompts, as a share of what direction j does there; its absolute value. (In "
        "units of own effects, so direction i moves behaviour j less than its own, 1, too.) Of "
        "the pair of which it is largest: supported if its 95% interval lies below "
        f"{SAME}, rejected if above, else inconclusive. Bootstrap over prompts and re-extractions "
        f"of all directions. {LARGEST} {GATE}",
        number="effect of the strongest other direction over that of the own one",
        estimates=("leak.largest", "behaviours"),
    ),
    Claim(
        key="10c", notes=NOTES,
        statement=f"Other directions of {VARIED} move it by what their cosine with the first says.",
        criterion=f"Directions of {VARIED} from other layers (evenly spaced, without the last "
        f"fifth), from other template tokens, and from handfuls of {FEW} train prompts per class, "
        "all written at the common site with the length of the first, which is from all train "
        "prompts there. Share of the variance of their effects on test prompts that a straight "
        "line in their cosine with the first explains, negative where the line falls; layers, "
        "tokens and handfuls weigh the same. Supported if its 95% interval (bootstrap over "
        f"prompts, re-extractions and directions) lies above {MIN_SHARE}, rejected if below, else "
        f"inconclusive. Untestable unless {VARIED} counts, with fewer than {MIN_VARIANTS} "
        f"directions, or if the standard deviation of their cosines is below {MIN_SPREAD}. "
        f"{COUNTS}",
        number="share of the variance of effects that the cosine explains",
        estimates=("share", "spread", f"counts.{VARIED}"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Directions of many behaviours."""

    n_train: Several = 16  # prompts per class that directions are from, at most
    n_validation: Several = 10  # prompts per class that the score is tried on, at most
    n_test: Several = 4  # prompts per class that effects are measured on, at most
    n_nulls: Count = 2  # random directions per family
    n_reextractions: CountOrZero = 1  # directions from resampled train prompts
    n_halves: Several = 100  # of the train prompts, for the intervals of cosines
    n_layers: Several = 5  # other layers that directions of one behaviour come from
    n_positions: Count = 3  # last tokens of the template, the very last included
    n_handfuls: Several = 4  # directions from few prompts


MINUTES = {"smoke": 0.1, "quick": 1.0, "full": 15}
PRESETS = {
    "smoke": Config(n_train=8, n_validation=4, n_test=2, n_nulls=1, n_reextractions=0, n_halves=10,
                    n_layers=2, n_positions=2, n_handfuls=2),
    "quick": Config(),
    "full": Config(n_train=96, n_validation=48, n_test=24, n_nulls=6, n_reextractions=3,
                   n_halves=400, n_layers=12, n_handfuls=10),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    e = estimates
    few = e["behaviours"].value < MIN_BEHAVIOURS
    share, spread = e["share"], e["spread"]
    varied = bool(e[f"counts.{VARIED}"].value) and spread.n >= MIN_VARIANTS
    told = varied and spread.value >= MIN_SPREAD
    pairs = {"10a": e["alike.largest"], "10b": e["leak.largest"]}
    return {
        **{key: decide(x.below(SAME), x.above(SAME)) if not few else "untestable"
           for key, x in pairs.items()},
        "10c": decide(share.above(MIN_SHARE), share.below(MIN_SHARE)) if told else "untestable",
    }  # fmt: skip
