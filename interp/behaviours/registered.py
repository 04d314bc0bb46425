"""The registered behaviours, each with the openings or the choice that it is measured by."""

from collections.abc import Callable, Mapping, Sequence

from interp.assets.registry import data_asset
from interp.behaviours.behaviour import PLACE, Behaviour, framed, is_question
from interp.data import sets
from interp.data.prompt_sets import ContrastSet, contrast
from interp.refusal_classifier import classify
from interp.scores import REFUSAL_OPENINGS


def _words(name: str, frame: str, shows: Sequence[str], others: Sequence[str]) -> Behaviour:
    """A registered contrast set of plain text, by how it is gone on with."""
    found = framed(sets.contrast_set(name), frame)
    return Behaviour(name, found, tuple(shows), tuple(others), style="none")


def refusal_of(found: ContrastSet) -> Behaviour:
    """Refusal, measured on any contrast set."""
    return Behaviour("refusal", found, REFUSAL_OPENINGS, classify=classify)


def _refusal() -> Behaviour:
    return refusal_of(sets.contrast_set("refusal"))


def _sentiment() -> Behaviour:
    frame = f"{PLACE}. All in all, this was"
    return _words("sentiment", frame, (" great", " good", " excellent", " wonderful"),
                  (" terrible", " bad", " awful", " poor"))  # fmt: skip


def _register() -> Behaviour:
    """Formal texts go on without contractions."""
    return _words("register", f"{PLACE} They", (" are", " will", " have"), ("'re", "'ll", "'ve"))


def _persona() -> Behaviour:
    return _words("persona", f"{PLACE} It was a", (" dark", " cruel", " brutal", " terrible"),
                  (" good", " beautiful", " great", " peaceful"))  # fmt: skip


def _syntax() -> Behaviour:
    """A sentence goes on by its grammatical end, or by the other one of its pair."""
    found = sets.contrast_set("syntax")
    pairs = zip(found.positive, found.negative, strict=True)
    kept = [pair for pair in pairs if is_question(*pair, "none")]
    positive, negative = zip(*kept, strict=True)
    found = contrast("syntax", positive, negative, found.licence, paired=True)
    return Behaviour("syntax", found, choice=True, style="none")


def _truth() -> Behaviour:
    """BoolQ: a question with the true answer, and with the other one."""
    rows = sets.boolq()
    stems = [f"{row.passage}\nQuestion: {row.question}?\nAnswer:" for row in rows]
    answers = [(" yes", " no") if row.answer else (" no", " yes") for row in rows]
    positive, negative = (
        [stem + pair[side] for stem, pair in zip(stems, answers, strict=True)] for side in (0, 1)
    )
    licence = data_asset("boolq").licence
    return Behaviour("truth", contrast("truth", positive, negative, licence, paired=True),
                     choice=True, style="none")  # fmt: skip


def _sycophancy() -> Behaviour:
    return Behaviour("sycophancy", sets.contrast_set("sycophancy"), choice=True, style="none")


REGISTERED: Mapping[str, Callable[[], Behaviour]] = {
    "refusal": _refusal,
    "sentiment": _sentiment,
    "register": _register,
    "persona": _persona,
    "syntax": _syntax,
    "truth": _truth,
    "sycophancy": _sycophancy,
}
