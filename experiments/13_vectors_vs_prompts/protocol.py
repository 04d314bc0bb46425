"""Is a steering vector harder to undo than a prompt that does the same?

Refusal of harmless tasks is brought about in two ways: by a sentence in front of the question
(`sentences.STEERING`), or by the difference of the mean states on harmful and harmless train
prompts, added at every token of one site. Refusal odds: log odds of any refusal opening, in nats.
Every prompt begins with a sentence of the same length: a neutral one where no prompt steers, so
that the two ways differ in nothing else. The base is the neutral sentence and the question.

Match, on validation prompts: for every steering sentence that raises the odds by MIN_RISE, the
vector's dose is where its odds, interpolated between DOSES and then measured twice more, cross the
sentence's; of two sites the one is taken whose KL(base || steered) of the next token is
closest to the sentence's. A sentence counts as matched within MAX_MISMATCH of its rise and a factor
MAX_RATIO of its KL; used are those with the closest KL.

Undoing: ten counter-prompts between sentence and question, and a counter-vector: the same
difference from the other half of the train prompts, subtracted at the same site and tokens. Its
dose, one for both ways, is where half of the rise is left on validation prompts, on average over
both.

Intervals: bootstrap over questions, steering sentences, counter-prompts (13b: filler texts) and
re-extractions of both vectors from resampled train prompts, all together.

Objections, and what was done:
- Subtracting the vector itself is algebra: the counter-vector is from other prompts. It is still
  nearly parallel, so it is given to both ways at one dose and counts no more than the
  counter-prompts do; were each way undone by its own kind alone, the mean lead is 0.
- The counter-vector halves what the counter-prompts show: that is the claim, undone by either. Both
  leads are shown, and one whose interval lies below -MIN_LEAD blocks support (below 0, a planted
  model's -.006 had blocked it).
- The verdict must not turn on one lucky counter-prompt: shares are averaged over all of them, and
  they are drawn anew in the bootstrap. None was tried before it was written down. Half of them
  speak of the first sentence, which a vector's prompt does not have in that sense: for a user that
  is part of what makes it hard to undo; the other half just asks for an answer.
- Without a sentence in front, a counter-prompt is a larger part of the vector's prompt than of the
  other: the neutral sentence is there for that.
- What is broken cannot be undone, and broken models may refuse: random vectors as long have to
  raise the odds much less. (KL on text is shown; at most .1 of it would leave no dose that
  refuses.)
- If the vector refuses more than the sentence, undoers that take equal nats leave it a larger
  share: the lead is taken in both units, and both have to agree.
- An undoer may push below the base, or do nothing: shares are cut to 0 and 1. One that leaves
  nearly all of both, or nearly nothing, decides nothing; a first gate on the mean had hidden true
  claims.
- Filler changes the odds of the base as well: 13b subtracts them at the same filler.
- The vector is written at every token, of the filler too, and a sentence once, so that it would be
  odd if filler diluted it: 13b tests whether the sentence is weakened, and whether a vector as it
  is used is not. A vector written once, at the first sentence, is another question, left out.
- A step at the first filler is no growth: the sentence's share has to fall between the lengths too.
- Sentences that no vector matches drop out, which may hide that vectors are less effective. That
  half of the quotation has no claim here; how many dropped out is said in the observation.
- A bootstrap over at most four sentences is too narrow: the verdict is about these sentences.
- Found after the criteria were fixed, and left as it was: quick runs on two small models have no
  match, since the vector changes the next token a quarter as much as the sentence, or less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate

DEPTHS = (0.5, 0.7)  # of the blocks, stream pre: the sites
DOSES = (0.5, 1.0, 2.0, 4.0)  # of the vector, times the raw difference
COUNTER_DOSES = (0.5, 1.0, 2.0)  # of the counter-vector, times the vector's dose
LEFT = 0.5  # share that its dose is chosen to leave
MIN_RISE = 1.0  # nats
MAX_MISMATCH = 0.25  # of the sentence's rise
MAX_RATIO = 2.0  # of KL
MAX_RISES = 1.5  # ratio of rises
MAX_RANDOM = 0.25  # of the vector's rise
LENGTHS = (40, 120)  # tokens of filler
MIN_LEAD = 0.1
MAX_SLOPE = 0.1  # per 100 tokens
ENDS = (0.1, 0.9)  # shares left
UNDOERS = ("counter_prompts", "counter_vector")

MATCHED = (
    f"Untestable (no match) if no steering sentence that raises the mean odds by {MIN_RISE:g} nat "
    f"on validation prompts finds a dose of the vector (up to {DOSES[-1]:g} times the difference, "
    f"at one of {DEPTHS} of the depth) with as large a rise within {MAX_MISMATCH} of it and a KL "
    f"of the next token within a factor {MAX_RATIO:g}; or if on test prompts the vector's KL over "
    f"the sentence's is outside that factor, or their rises differ by more than a factor "
    f"{MAX_RISES}. Untestable (nothing to undo) if the 95% interval of either rise on test prompts "
    f"is not above {MIN_RISE:g} nat."
)
RANDOM = (
    "Never supported unless the mean rise by random vectors as long (isotropic, "
    "covariance-matched, label-permuted; 1 each in quick, 4 in full) over the vector's rise lies, "
    f"with its 95% interval, below {MAX_RANDOM}."
)

CLAIMS = (
    Claim(
        key="13a", notes='control vectors are "potentially more effective and harder to be undone"',
        statement="After undoing, more is left of the refusal that a vector brought about than of "
        "as much refusal brought about by a sentence.",
        criterion="On harmless test questions (6 in quick, 24 in full). Share left: rise of the "
        "mean refusal odds, with the undoer, over the plain base (neutral sentence, no undoer), "
        "over the rise without it, each cut to 0 and 1. Lead: the vector's share minus the "
        "sentence's, averaged over counter-prompts (4 of them in quick, all 10 in full), and "
        "averaged with the same for the counter-vector, whose one dose for both ways is chosen on "
        f"validation prompts to leave {LEFT} of the rise (at most {COUNTER_DOSES[-1]:g} times the "
        "vector's). Lead in nats: what undoers take from the sentence minus what they take from "
        "the vector, over the mean of both rises. Supported if the 95% intervals of both leads lie "
        f"above {MIN_LEAD}, and that of neither undoer's own lead below -{MIN_LEAD}; rejected if "
        f"both lie below {MIN_LEAD}; else inconclusive. Untestable (undoing) if counter-prompts or "
        f"counter-vector leave of both ways less than {ENDS[0]}, or of both more than {ENDS[1]}. "
        f"{RANDOM} {MATCHED}",
        number="share left of the vector's refusal minus that of the sentence's "
        f"(wanted: above {MIN_LEAD})",
        estimates=("lead", "lead.nats", *(f"lead.{undoer}" for undoer in UNDOERS),
                   *(f"left.{undoer}.{way}" for undoer in UNDOERS for way in ("prompt", "vector")),
                   "random", "rise.prompt", "rise.vector", "match.rise", "match.kl", "matched"),
    ),
    Claim(
        key="13b", notes='prompting adds "distracting tokens to overwhelm the activation space"',
        statement="Ordinary text between sentence and question weakens the sentence, not the "
        "vector that is added at every token.",
        criterion=f"{LENGTHS} tokens of Wikipedia leads (2 texts in quick, 6 in full) between the "
        "sentence and the question, on the same test questions. Share kept: rise of the mean "
        "refusal odds over the base, both with the filler, over the rise without it. Slope: of the "
        "line by least squares through a share of 1 at no filler, per 100 tokens. Supported if the "
        f"95% intervals of the vector's slope minus the sentence's lie above {MAX_SLOPE}, of the "
        f"sentence's below -{MAX_SLOPE}, and of the vector's above -{MAX_SLOPE}; rejected if any "
        "lies on the other side; else inconclusive. Never supported unless the sentence's share at "
        f"{LENGTHS[-1]} minus that at {LENGTHS[0]} tokens lies below 0 too. {RANDOM} {MATCHED}",
        number="slope of the share kept per 100 tokens of filler, vector minus sentence "
        f"(wanted: above {MAX_SLOPE})",
        estimates=("slope.difference", "slope.prompt", "slope.vector", "growth", "random",
                   "rise.prompt", "rise.vector", "match.rise", "match.kl", "matched"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Vectors and prompts: which is harder to undo?"""

    n_train: Annotated[int, Ge(4)] = 24  # prompts per class, half for the counter-vector
    n_validation: Several = 4  # harmless prompts on which vector and sentence are matched
    n_test: Several = 6  # harmless questions
    n_sentences: Count = 2  # of the steering sentences, tried
    n_used: Count = 1  # of them at most, the best matched
    n_counters: Several = 4  # of the counter-prompts
    n_fillers: Several = 2  # texts
    n_reextractions: CountOrZero = 1  # pairs of vectors from resampled train prompts
    n_nulls: Count = 1  # random vectors per family
    n_text: Several = 2  # Wikipedia leads, their first 48 tokens, for the damage


MINUTES = {"smoke": 0.1, "quick": 0.6, "full": 14}
PRESETS = {
    "smoke": Config(n_train=12, n_validation=3, n_test=4, n_sentences=2, n_counters=2),
    "quick": Config(),
    "full": Config(n_train=128, n_validation=12, n_test=24, n_sentences=4, n_used=4,
                   n_counters=10, n_fillers=6, n_reextractions=2, n_nulls=4, n_text=16),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    e, matched = estimates, is_matched(estimates)
    slope, prompt, vector = (e[f"slope.{name}"] for name in ("difference", "prompt", "vector"))
    lead, nats = e["lead"], e["lead.nats"]
    steers = e["random"].below(MAX_RANDOM)
    blocked = any(e[f"lead.{undoer}"].below(-MIN_LEAD) for undoer in UNDOERS)
    ahead = lead.above(MIN_LEAD) and nats.above(MIN_LEAD) and not blocked
    weakened = slope.above(MAX_SLOPE) and prompt.below(-MAX_SLOPE) and e["growth"].below(0)
    holds = {"13a": steers and ahead, "13b": steers and weakened and vector.above(-MAX_SLOPE)}
    fails = {
        "13a": lead.below(MIN_LEAD) and nats.below(MIN_LEAD),
        "13b": slope.below(MAX_SLOPE) or prompt.above(-MAX_SLOPE) or vector.below(-MAX_SLOPE),
    }
    testable = {"13a": matched and undoes(e), "13b": matched}
    return {key: decide(holds[key], fails[key]) if testable[key] else "untestable" for key in holds}


def is_matched(estimates: Mapping[str, Estimate]) -> bool:
    """Whether sentence and vector both work, and alike."""
    limits = {"rise": MAX_RISES, "kl": MAX_RATIO}
    alike = all(1 / x <= estimates[f"match.{what}"].value <= x for what, x in limits.items())
    works = all(estimates[f"rise.{way}"].above(MIN_RISE) for way in ("prompt", "vector"))
    return estimates["matched"].value >= 1 and alike and works


def undoes(estimates: Mapping[str, Estimate]) -> bool:
    """Whether neither undoer leaves nearly all, or nearly nothing, of both ways."""
    low, high = ENDS
    left = [[estimates[f"left.{u}.{way}"].value for way in ("prompt", "vector")] for u in UNDOERS]
    return all(min(shares) <= high and max(shares) >= low for shares in left)
