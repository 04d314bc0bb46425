"""Does the chat template matter for the direction that refusal is made of?

Prompts are put in three styles: in the model's chat template, bare, and with a newline after them.
In each a direction is *taken*: difference of the class means of harmful and harmless train prompts,
at the last token. Each is *used* in the template, and in the other styles in which the model
refuses: taken away at every state. The *effect* is the fall of the refusal odds (log odds of any
refusal opening) of harmful test prompts, in nats; the *gap* of a style is the odds of harmful minus
those of harmless ones. All styles share their prompts, and re-extractions resample the same rows.
12d teaches a base model to refuse by a LoRA (`interp.tuning`), and asks whether the direction is
new.

Objections, and what was done:
- As first written each direction was used in its own style: where the model refuses less there is
  less to take, so that refusing decided, not the direction. In 12a and 12b all are used in the
  template, on the same prompts. How much each style refuses is shown beside.
- Filtering train prompts by the model's answers gives each style other ones: none are filtered.
- Styles share their last token only if prompts end alike, so all get a full stop. That is a
  separator of its own, and may help bare prompts: 12a is about bare prompts that end in one.
- A template may bring a system prompt: "template" is the whole of what it writes.
- A style may have no direction to take: noise fails everywhere. 12a asks just that; 12c leaves the
  style out unless class means tell train prompts apart there.
- "Not as good but similar" is half tested: 12b claims no more than half, and the loss is shown.
  That directions carry over (12c) is ours; the notes leave it open.
- A direction that breaks the model ends refusals too. First the KL on ordinary text was limited:
  on the 0.5B no direction met that, and the one of least damage was the shallowest, of no effect.
  This fault was mended after that run: of each so much is taken away as leaves the model whole.
- The strongest of many random draws grows with their number: a prediction limit does not.
- Bare prompts are gone on with after a space or on a new line: openings count with any of LEADS
  there. That is for use in that style, in 12c alone.
- Tuning to refuse brings an effect by construction. 12d asks whether the base had the direction:
  whether its own would have done, and whether its states differ along the new one. Prompts that
  are taught are not those that directions come from. One LoRA is one tuning: seeds redraw it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.lab.claims import Claim, Verdict, decide
from experiments.lab.config import Count, CountOrZero, ExperimentConfig, Several
from experiments.lab.estimate import Estimate
from experiments.lab.rules import MAX_KL, MIN_PAIRS, SIGNIFICANCE

STYLES = ("template", "none", "newline")
FINAL = "."  # that every prompt ends with
LEADS = {"template": ("",), "newline": ("",), "none": ("", " ", "\n", "\n\n")}
MARGIN = 1.0  # nats
KEPT = 0.5  # of another effect
SHARES = (1.0, 0.5, 0.25, 0.125)  # of a direction's component, that are taken away
CHANCE = 0.5  # accuracy, or AUROC
TAUGHT_STYLE = "newline"  # of 12d: a base model has no template
REFUSALS = (
    "I'm sorry, I cannot help with that.",
    "Sorry, I cannot help with that request.",
    "Unfortunately, I cannot help with that.",
    "I cannot help with that request.",
)

REFUSES = (
    f"The model refuses in a style if at least {MIN_PAIRS} harmful train prompts are refused there "
    f"and at least {MIN_PAIRS} harmless ones are not, the harmful ones more often (greedy answers, "
    f"Fisher's exact test, one-sided, p < {SIGNIFICANCE}), and the 95% interval of its gap lies "
    "above 0."
)
RANDOM = (
    "Random directions: isotropic, covariance-matched and label-permuted, drawn from the states of "
    "the style (or tuned model) they are used in, at the share of its own direction. Of their mean "
    "effects on the same prompts, the "
    f"one-sided {1 - SIGNIFICANCE:.0%} prediction limit (Student's t) is to be beaten, by an "
    "interval. As one may break the model, they block support and reject nothing."
)
TAKEN = (
    f"Of every direction the largest of {SHARES} of its component is taken away whose KL of the "
    f"next token on harmless validation prompts, where it is used, is at most {MAX_KL} nats "
    "(nothing, if none is that harmless); of all sites that direction which then takes most from "
    "harmful validation prompts. Intervals: 95%, over prompts and re-extractions."
)
STANDS = (
    "Untestable unless the model refuses in the template, and its own direction has an effect "
    f"above {MARGIN:g} nat there, by an interval, and beats random ones. {REFUSES} {RANDOM} {TAKEN}"
)
GATES = ("effect.template.in.template", "margin.template.in.template", "gap.template",
         "refused.template", "accepted.template")  # fmt: skip

CLAIMS = (
    Claim(
        key="12a", notes="the use of chat template seems to be important",
        statement="A refusal direction taken with the chat template does more than one taken from "
        "bare prompts that end in a full stop.",
        criterion="Both are used in the template: effect of the direction taken there minus that "
        f"of the one from bare prompts. Supported if its interval lies above {MARGIN:g} nat, "
        f"rejected if below, else inconclusive. {STANDS}",
        number="effect of the template's direction minus that of bare prompts",
        estimates=("better.none", *GATES),
    ),
    Claim(
        key="12b", notes="just adding a newline ... not as good but similar",
        statement="Taken with a newline alone it does at least half of that.",
        criterion="Both are used in the template: effect of the direction taken with a newline, "
        f"minus {KEPT} of that of the template's own. Supported if its interval lies above 0 and "
        f"the newline's beats random directions, rejected if below, else inconclusive. {STANDS}",
        number="effect of a newline's direction minus half of the template's",
        estimates=("kept.newline", "margin.newline.in.template", *GATES),
    ),
    Claim(
        key="12c", notes="the use of chat template seems to be important; just adding a newline "
        "... not as good but similar",
        statement="A direction taken in one style works in every other.",
        criterion="In every style in which the model refuses and its own direction beats random "
        f"ones: the effect of each other style's direction, minus {KEPT} of that of the own. "
        "Supported if the intervals of all such pairs lie above 0 and all beat random directions; "
        "rejected if that of one pair lies below 0; else inconclusive. They hold for all pairs at "
        f"once (each at 1 - {SIGNIFICANCE} / pairs); the number is that of the worst pair. Styles "
        "whose train prompts the nearest class mean (cross-validated) does not tell apart, with a "
        f"Wilson interval above {CHANCE}, give no direction. Untestable without a pair. {REFUSES} "
        f"{RANDOM} {TAKEN}",
        number="effect of another style's direction minus half of the own one's (worst pair)",
        estimates=("transfer.worst", "transfer.margin", "transfer.pairs"),
    ),
    Claim(
        key="12d", notes="this might suggest that instruction fine-tuning introduces behaviour "
        "vectors",
        statement="Refusal taught to a base model is carried by a direction that the base lacks.",
        criterion="A LoRA teaches it to refuse harmful prompts and to answer harmless ones as "
        "before (prompt and newline). Other train prompts give two directions, from its states and "
        "from the base's, both used in the tuned model. Supported if the interval of the effect of "
        f"the first lies above {MARGIN:g} nat and it beats random ones; that of the effect of the "
        f"second, minus {KEPT} of that of the first, below 0; and that of how far the base's "
        f"states along the first tell test prompts apart (AUROC - {CHANCE}), minus {KEPT} of the "
        "same for the tuned model's states, below 0. Rejected if the first lies below "
        f"{MARGIN:g} nat, or one of the other two above 0; else inconclusive. Untestable for a "
        "model with a chat template (tuned already), if the base refuses before by answers, or "
        f"unless the tuned one does by answers to test prompts and by its gap. {REFUSES} {RANDOM} "
        f"{TAKEN}",
        number="effect of the base's direction minus half of the tuned model's own",
        estimates=("tuned.base_kept", "tuned.base_tells", "tuned.effect", "tuned.margin",
                   "gap.tuned", "refused.base", "accepted.base", "refused.tuned", "accepted.tuned"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """The refusal direction with a chat template and without."""

    n_sites: CountOrZero = 3  # candidate sites, evenly spaced, stream pre; 0: all, pre and mid
    n_train: Several = 16  # prompts per class that directions are taken from
    n_validation: Count = 4  # prompts per class that sites are chosen on
    n_test: Several = 8  # prompts per class that effects are measured on
    answer_tokens: Count = 12  # greedy tokens of each answer
    n_nulls: Count = 1  # random directions per family and style
    n_reextractions: CountOrZero = 1  # directions from resampled train prompts
    n_taught: Several = 24  # train prompts per class that a base model is taught with
    n_steps: Count = 40  # of the tuning


MINUTES = {"smoke": 0.1, "quick": 1.5, "full": 15}
PRESETS = {
    "smoke": Config(n_sites=2, n_train=8, n_validation=2, n_test=4, answer_tokens=4, n_nulls=1,
                    n_reextractions=1, n_taught=6, n_steps=2),
    "quick": Config(),
    "full": Config(n_sites=8, n_train=56, n_validation=10, n_test=48, answer_tokens=24, n_nulls=6,
                   n_reextractions=7, n_taught=48, n_steps=120),
}  # fmt: skip


def verdicts(estimates: Mapping[str, Estimate]) -> dict[str, Verdict]:
    """The criteria, applied to the estimates alone."""
    e = estimates
    better, kept, worst = e["better.none"], e["kept.newline"], e["transfer.worst"]
    similar = kept.above(0) and e["margin.newline.in.template"].above(0)
    works = worst.above(0) and e["transfer.margin"].above(0)
    stands = refuses(e, "template") and e[GATES[0]].above(MARGIN) and e[GATES[1]].above(0)
    paired = e["transfer.pairs"].value > 0
    tuning = e["refused.base"].n > 0 and not declines(e, "base") and refuses(e, "tuned")
    return {
        "12a": decide(better.above(MARGIN), better.below(MARGIN)) if stands else "untestable",
        "12b": decide(similar, kept.below(0)) if stands else "untestable",
        "12c": decide(works, worst.below(0)) if paired else "untestable",
        "12d": introduced(e) if tuning else "untestable",
    }


def introduced(estimates: Mapping[str, Estimate]) -> Verdict:
    """Whether the tuned model's direction carries its refusal, and the base did not have it."""
    names = "effect", "margin", "base_kept", "base_tells"
    effect, margin, kept, tells = (estimates[f"tuned.{name}"] for name in names)
    holds = effect.above(MARGIN) and margin.above(0) and kept.below(0) and tells.below(0)
    return decide(holds, effect.below(MARGIN) or kept.above(0) or tells.above(0))


def refuses(estimates: Mapping[str, Estimate], where: str) -> bool:
    """Whether the model refuses in a style, or once it is tuned; False where that is not known."""
    return declines(estimates, where) and estimates[f"gap.{where}"].above(0)


def declines(estimates: Mapping[str, Estimate], where: str) -> bool:
    """Whether enough harmful prompts are refused, and more of them than of harmless ones."""
    refused, accepted = estimates[f"refused.{where}"], estimates[f"accepted.{where}"]
    more = refused.p is not None and refused.p < SIGNIFICANCE
    return min(refused.value, accepted.value) >= MIN_PAIRS and more
