"""Do the notes' three properties of a layer say which layer's direction works best?

For each behaviour, directions are differences of class means at candidate sites (the last token,
as in the notes). A *pick* is a site chosen by its statistics on train prompts alone. It is judged
by what its direction does to test prompts, as a share of what the best site's direction does:

    removed      fall of the behaviour's score where it shows, the direction ablated everywhere
    brought      its rise where it does not, .1 of the state's norm added at the site
    classified   accuracy above chance of the nearest class mean, of 8 train prompts per class

The best site is found on one half of the test prompts and measured on the other, both ways, or its
luck would make every share small. Steering (07a-c) averages `removed` and `brought` per behaviour.

"In order of importance" is read as weighted ranks: 3 for the rank of the mean variance, 2 for that
of the largest, 1 for that of the cosine; the lowest sum is picked. There all three properties have
a say, and the earlier ones more. Three other readings (READINGS) may block a verdict that they
contradict; mean variance alone is one of them, since without exact ties it decides alone.

Intervals: hierarchical bootstrap over behaviours, re-extractions (train prompts resampled: other
statistics, picks and directions) and test prompts; value -+ its error times Student's t with
(behaviours - 1) degrees of freedom. Resampling within behaviours counts the noise of prompts twice,
which makes up for the factor n / (n - 1) that resampling few behaviours lacks.

Objections, and what was done (A: by the author, R: by a red team before anything was measured):
- A: Raw variances grow with the norm, so the raw ordering picks the first sites by construction. So
  it is claimed, so it is tested (07a); 07b has what is left of it once the norm is divided out.
- A: Where all sites do equally well any pick has a share near 1: it has to beat the mean of all
  sites. Where statistics and effects both follow depth, depth would do: it has to beat the best of
  three picks by depth alone. R: so no support where .6 of the depth is ideal and found. True: a
  rule that finds it cannot be told from depth in one model. Both may block, and reject nothing.
- R: Behaviours of one model share its profile of variance, so a coincidence is shared as well. A
  verdict is about this model, and only agreement between models says more. `p` of a share counts
  circular shifts of all picks together that do as well: never small, so it decides nothing.
- R: The "best" site may be one that breaks most. Sites whose ablation costs more than .1 nats on
  text do not count for removing, those whose addition costs more than .3 (first 1) not for
  bringing: neither as picks nor as best nor for the nulls. Faults mended after first runs: a site
  counted for neither edit where one of them damages text (smollm2-135m; a-c were untestable), and
  random directions stood at the best of all sites, whether or not it counts (0.5B and 135M).
- R: The gate took the best of many sites on few prompts. It has to be above its limits and above
  random directions by the whole interval of the cross-fitted effect, prompts and re-extractions.
- R: Cross-fitting errs to the other side: the best site found on half of the prompts is not quite
  the best, so that shares are a little high. Support is therefore never from the share alone.
- R: Nearest means from many prompts are right everywhere. They are now of 8 prompts per class.
- R: "In order of importance" is lexicographic, 3-2-1 an invention. Then only the mean variance
  counts: `strict` and `ties` are that. No verdict is given against them.
- A: 07d could mean the raw ordering; that is 07a's fault again, so the fair one decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import MAX_KL

WEIGHTS = (3, 2, 1)  # of the ranks of mean variance, largest variance, cosine
TIE = 0.1  # of the lowest value: what is no higher is a tie
SHARE = 0.1  # of the mean norm of the train states: length of what is added
BREAKING = 0.3  # nats per token of text, under addition
DEPTHS = (0.0, 0.6, 1.0)  # of the model's; the nearest candidate is what depth alone picks
MIN_SHARE = 0.8
MIN_GAIN = 0.01  # of a share; more than rounding
MIN_EFFECT = 0.5  # nats
MIN_ABOVE = 0.1  # accuracy above chance
CLASS_PROMPTS = 8  # train prompts that a class mean is of, for classification
MIN_BEHAVIOURS = 3
ORDERINGS = ("raw", "over_norm", "cosine")  # 07a, 07b and 07d, 07c
READINGS = {
    "strict": "the lowest mean variance alone",
    "ties": f"of the sites whose mean variance is within {TIE} of the lowest those whose largest "
    f"variance is within {TIE} of the lowest, and of these the lowest cosine",
    "halves": "of the better half by mean variance the better half by largest variance, and of "
    "these the lowest cosine",
}

GATE = (
    "A behaviour counts if its score tells test prompts apart (95% interval of the AUROC, or of "
    "the share of right choices, above .5), by those of removing and bringing in which the best "
    f"site's effect has its 95% interval above {MIN_EFFECT} nats and above the strongest of the "
    "random directions at the site that is best on all test prompts (1 of each of three families "
    f"in quick, 3 in full). Sites count for removing if the ablation has a KL of at most {MAX_KL} "
    "nats per token on ordinary text, and for bringing if the addition has one of at most "
    f"{BREAKING}. Untestable with fewer than {MIN_BEHAVIOURS} behaviours."
)
JUDGED = (
    "Share = effect at the picked site (0 if it goes the wrong way) over that of the best one, "
    "mean over behaviours; the best is found on one half of the test prompts and measured on the "
    "other, and the denominator is at least {least}. Supported if the 95% interval of the share "
    f"lies above {MIN_SHARE}, those of its excess over the mean of all sites, and over the best of "
    f"the picks by depth alone (the sites nearest to {DEPTHS} of the depth), above {MIN_GAIN}"
    f"{{unless}}; rejected if the interval of the share lies below {MIN_SHARE}{{unless}}; else "
    "inconclusive."
)
ORDERED = (
    f"weights {WEIGHTS} for the ranks of the mean variance, of the largest variance of a feature "
    "and of the cosine of the class means, lowest sum first; variances averaged over both classes{}"
)
STEERED = (
    "Effects: the mean fall of the score where the behaviour shows, with the direction ablated "
    f"everywhere, and its mean rise where it does not, with {SHARE} of the state's norm added at "
    "the site; a behaviour's share is the mean of both. "
)
UNLESS = ", and no other reading has an interval on the other side: " + "; ".join(READINGS.values())
NOTES = (
    "an ideal layer has low mean variance, low maximal variance, low cosine of the means, "
    '"in order of importance"'
)


def deciding(ordering: str, kind: str = "steered") -> tuple[str, ...]:
    """Names of the estimates that decide: the share, its excesses, and that of other readings."""
    base = f"{kind}.{ordering}"
    others = READINGS if ordering != "cosine" else ()
    return (f"{base}.share", f"{base}.over_random", f"{base}.over_depth",
            *(f"{base}.{reading}.share" for reading in others))  # fmt: skip


CLAIMS = (
    Claim(
        key="07a", notes=NOTES,
        statement="The layer with low mean variance, largest variance and cosine, in this order, "
        "has the direction that steers best.",
        criterion=f"Picked: {ORDERED.format('')}. {STEERED}"
        + JUDGED.format(least=f"{MIN_EFFECT} nats", unless=UNLESS) + f" {GATE}",
        number="share of the best layer's effect that the picked one has (raw variances) "
        f"(wanted: above {MIN_SHARE})",
        estimates=deciding("raw"),
    ),
    Claim(
        key="07b", notes=NOTES,
        statement="The same with the variances as shares of the squared norm, which grows.",
        criterion=f"Picked: {ORDERED.format(', over the mean squared norm')}. {STEERED}"
        + JUDGED.format(least=f"{MIN_EFFECT} nats", unless=UNLESS) + f" {GATE}",
        number="share of the best layer's effect that the picked one has (over squared norm) "
        f"(wanted: above {MIN_SHARE})",
        estimates=deciding("over_norm"),
    ),
    Claim(
        key="07c", notes=NOTES,
        statement="The layer whose class means have the lowest cosine steers best.",
        criterion=f"Picked: the lowest cosine of the class means. {STEERED}"
        + JUDGED.format(least=f"{MIN_EFFECT} nats", unless="") + f" {GATE}",
        number="share of the best layer's effect that the picked one has (lowest cosine) "
        f"(wanted: above {MIN_SHARE})",
        estimates=deciding("cosine"),
    ),
    Claim(
        key="07d",
        notes="for classification task, the ideal layer described above would work best",
        statement="Prompts are classified best at the layer of 07b.",
        criterion=f"Picked: {ORDERED.format(', over the mean squared norm')}. Effect: the accuracy "
        "above .5, on test prompts, of the nearest of two class means, each of "
        f"{CLASS_PROMPTS} train prompts, averaged over as many such sets as there are. "
        + JUDGED.format(least=MIN_ABOVE, unless=UNLESS)
        + " All sites count, and every behaviour whose best site's effect has its 95% interval "
        f"above {MIN_ABOVE}. Untestable with fewer than {MIN_BEHAVIOURS} behaviours.",
        number="share of the best layer's accuracy above chance that the picked one has "
        f"(wanted: above {MIN_SHARE})",
        estimates=deciding("over_norm", "classified"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Which layer's direction works best, and do statistics of the layer say so?"""

    behaviours: tuple[str, ...] = ("refusal", "sentiment", "register", "persona")
    n_sites: CountOrZero = 5  # candidate sites, evenly spaced, stream pre; 0: all of pre
    n_train: Several = 24  # prompts per class for statistics and directions, at most
    n_test: Several = 6  # prompts per class that are scored, at most
    n_classified: Several = 16  # test prompts per class that are classified, at most
    n_nulls: Count = 1  # random directions per family
    n_reextractions: CountOrZero = 1  # statistics and directions from resampled train prompts
    n_text: Several = 2  # Wikipedia leads, their first 32 tokens
    n_resamples: Several = 400  # bootstrap draws


MINUTES = {"smoke": 0.1, "quick": 1.3, "full": 20}
EVERY = ("refusal", "sentiment", "register", "persona", "syntax", "truth", "sycophancy")
PRESETS = {
    "smoke": Config(behaviours=("refusal", "sentiment", "register"), n_sites=3, n_train=16,
                    n_test=4, n_classified=6, n_resamples=50),
    "quick": Config(),
    "full": Config(behaviours=EVERY, n_sites=0, n_train=64, n_test=16, n_classified=48, n_nulls=3,
                   n_text=8, n_resamples=1000),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    return {claim.key: judged([estimates[name] for name in claim.estimates]) for claim in CLAIMS}


def judged(found: list[Estimate]) -> Verdict:
    """The verdict from the estimates of `deciding`; `n` of the share counts behaviours."""
    share, over_random, over_depth, *others = found
    if share.n < MIN_BEHAVIOURS:
        return "untestable"
    gains = over_random.above(MIN_GAIN) and over_depth.above(MIN_GAIN)
    beats = share.above(MIN_SHARE) and gains
    return decide(
        beats and not any(other.below(MIN_SHARE) for other in others),
        share.below(MIN_SHARE) and not any(other.above(MIN_SHARE) for other in others),
    )
