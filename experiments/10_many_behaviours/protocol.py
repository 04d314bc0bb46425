"""Do different directions represent different behaviours, or varying effects of one?

Each registered behaviour (`interp.behaviours`) has prompts that show it or do not, a score of the
answer in nats, and a direction: the difference of the class means at the last token, from train
prompts (so it is of what the prompts evoke). All are compared at one site, the stream entering the
block at two thirds of the depth, fixed after a pilot in which refusal and sentiment of the 0.5B
could be steered from there on. A vector moves a score by half of what the score is higher by with
the vector added than with it subtracted, mean over test prompts of both classes, in nats: what
breaks the model either way counts for nothing. 10a is geometry, 10b what the model makes of it.

Objections, and what was done:
- Few prompts make any two directions unlike: the cosine is divided by what noise leaves of it,
  which follows from the spread within the classes. In so many dimensions unlike is cheap all the
  same: the most alike of all pairs decides, against .7 (45 degrees), and so in 10b.
- Adding on one class and subtracting on the other, as first planned, a vector that only wrecks the
  model takes scores to 0 from both sides and looks like the best. Hence the half difference.
- Behaviours come with a corpus and a format of their own, and may differ by these. The control is
  refusal again, without its template: where that is told apart as well, support is blocked.
- The gate removes counterexamples: a behaviour that its own direction fails to move stays as a
  target of 10b where another direction moves it more. Random directions have to do less than half
  of an own effect, so that no leak is theirs.
- Which behaviours there are decides, not the model: the list is fixed here, whatever the preset,
  the pair is named, and so is who was left out. Sentiment and persona are both of good and bad,
  and were expected to be the pair.
- The largest of many noisy numbers is too large: its upper limit is the largest upper limit, its
  lower limit the largest of lower limits that are corrected for the number of pairs.
- A few huge dimensions make all directions alike: then they are, and 10b says what that means.
- 10c says more than the notes, who do not say what sizes follow: directions that all move refusal
  whatever their cosine reject it. It is the protocol's reading.
- In 10c random directions, with no effect and no cosine, would make any line fit: all directions
  are from refusal's prompts. Halves of them are nearly 1 alike: handfuls of four have a range.
  Layers are evenly spaced, whatever their number, and the bootstrap redraws them.
- Scores have units of their own: behaviours are compared on one score, on the same prompts and at
  the same length. In units of own effects this is the comparison over scores, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import SIGNIFICANCE

BEHAVIOURS = ("refusal", "sentiment", "register", "persona", "syntax", "truth", "sycophancy")
VARIED = "refusal"  # the control; and of which 10c takes many directions
DEPTH = 2 / 3  # of the blocks: the common site
OTHERS = {"third": 1 / 3, "half": 1 / 2}  # of the blocks, where cosines are shown too
MIN_OWN = 0.1  # nats
TIMES = 2.0  # what random directions do
SAME = 0.7  # a cosine of 45 degrees, and what it leaves of an effect where the model is linear
MIN_BEHAVIOURS = 3
FEW = 4  # prompts per class of a handful
MIN_SHARE = 0.5
MIN_SPREAD = 0.1
MIN_VARIANTS = 8

RANDOM = (
    "the limit of random directions (isotropic, covariance-matched, label-permuted) of that "
    f"length: the largest |effect|, or a one-sided t prediction limit (p < {SIGNIFICANCE}) where "
    "that is more"
)
COUNTS = (
    f"A behaviour of {', '.join(BEHAVIOURS)} counts if (1) on validation prompts its score is "
    "higher for those that show it (Mann-Whitney; of a choice more than half of the questions are "
    f"answered with it, binomial; one-sided p < {SIGNIFICANCE}); (2) the cosine expected of its "
    "direction with one from as many other prompts has an interval above "
    f"{SAME}; (3) its direction, with its own length, moves its score on test prompts by an "
    f"interval above both {MIN_OWN} nats and {TIMES:g} times {RANDOM}."
)
GATE = f"{COUNTS} Untestable with fewer than {MIN_BEHAVIOURS} behaviours that count."
LARGEST = (
    f"Supported if the 95% interval of the largest lies below {SAME}, rejected if above, else "
    "inconclusive. Its upper limit is the largest of the pairs' 97.5% limits, its lower limit the "
    "largest of their 2.5% limits, corrected for the number of pairs (Bonferroni). Support is "
    f"blocked if {VARIED} does not count, or if the same number of the control lies below {SAME} "
    f"by its interval: the direction of {VARIED} from the same prompts in another format (style "
    "none; newline where it is none)"
)
NOTES = "different directions represents different behaviour or varying effects of one behaviour"

CLAIMS = (
    Claim(
        key="10a", notes=NOTES,
        statement="Directions of different behaviours differ.",
        criterion="|cosine| of two counting behaviours' directions at the common site, over the "
        "geometric mean of the cosines expected of each with one from as many other prompts, at "
        "most 1 (which halves of one behaviour's prompts have). Intervals by random halves of the "
        f"train prompts, without replacement. {LARGEST}. {GATE}",
        number=f"cosine, without noise, of the two behaviours most alike (wanted: below {SAME})",
        estimates=("alike.largest", "alike.control", "behaviours"),
    ),
    Claim(
        key="10b", notes=NOTES,
        statement="Each direction moves its own behaviour more than the others do.",
        criterion="What direction i, given the length of direction j, moves the score of behaviour "
        "j by on test prompts, as a share of what direction j does there; its absolute value. (In "
        "units of own effects, so direction i moves behaviour j less than its own, 1, too.) Of "
        "all pairs of counting behaviours; and of those with a j that fails (3) alone, as a share "
        "of its own effect or the limit of random directions there, whichever is larger, if the "
        "corrected lower limit is above 1. "
        f"Intervals by bootstrap over prompts and re-extractions of all directions. {LARGEST}, "
        f"with j {VARIED}. {GATE}",
        number="effect of the strongest other direction over that of the own one "
        f"(wanted: below {SAME})",
        estimates=("leak.largest", "leak.control", "behaviours"),
    ),
    Claim(
        key="10c", notes=NOTES,
        statement=f"Other directions of {VARIED} move it by what their cosine with the first says.",
        criterion=f"Directions from {VARIED}'s prompts of other layers (evenly spaced, without the "
        f"last fifth), of other template tokens, and of handfuls of {FEW} train prompts per class, "
        "all written at the common site with the length of the first, which is from all train "
        "prompts there. Share of the variance of their effects on test prompts that a straight "
        "line in their cosine with the first explains, negative where the line falls; layers, "
        "tokens and handfuls weigh the same. Supported if its 95% interval (bootstrap over "
        f"prompts, re-extractions and directions) lies above {MIN_SHARE}, rejected if below, else "
        f"inconclusive. Untestable unless {VARIED} counts, with fewer than {MIN_VARIANTS} "
        f"directions, or if the standard deviation of their cosines is below {MIN_SPREAD}. "
        f"{COUNTS}",
        number="share of the variance of effects that the cosine explains "
        f"(wanted: above {MIN_SHARE})",
        estimates=("share", "spread", f"counts.{VARIED}"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Directions of many behaviours."""

    n_train: Several = 32  # prompts per class that directions are from, at most
    n_validation: Several = 8  # prompts per class that the score is tried on, at most
    n_test: Several = 3  # prompts per class that effects are measured on, at most
    n_nulls: Count = 1  # random directions per family
    n_reextractions: CountOrZero = 1  # directions from resampled train prompts
    n_halves: Several = 100  # of the train prompts, for the intervals of cosines
    n_layers: Several = 4  # layers that directions of one behaviour come from
    n_positions: Count = 3  # last tokens of the template, the very last included
    n_handfuls: Several = 4  # directions from few prompts


MINUTES = {"smoke": 0.1, "quick": 0.8, "full": 12}
PRESETS = {
    "smoke": Config(n_train=8, n_validation=4, n_test=2, n_reextractions=0, n_halves=10,
                    n_layers=2, n_positions=2, n_handfuls=2),
    # So few train prompts tell hardly more than refusal and sentiment: 10a and 10b need full.
    "quick": Config(),
    "full": Config(n_train=96, n_validation=48, n_test=12, n_nulls=5, n_reextractions=3,
                   n_halves=400, n_layers=12, n_handfuls=10),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    e = estimates
    few = e["behaviours"].value < MIN_BEHAVIOURS
    found: dict[str, Verdict] = {}
    for key, name in (("10a", "alike"), ("10b", "leak")):
        largest, control = e[f"{name}.largest"], e[f"{name}.control"]
        told = isfinite(control.value) and not control.below(SAME)  # by what is the same
        differs = decide(largest.below(SAME) and told, largest.above(SAME))
        found[key] = "untestable" if few else differs
    share, spread = e["share"], e["spread"]
    varied = spread.n >= MIN_VARIANTS and spread.value >= MIN_SPREAD and e[f"counts.{VARIED}"].value
    explained = decide(share.above(MIN_SHARE), share.below(MIN_SHARE))
    return {**found, "10c": explained if varied else "untestable"}
