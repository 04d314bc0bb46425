"""Behaviours: prompts that show one or not, and a score of how much the model's answer shows it.

The score is the log odds, in nats, of what an answer begins with: of the openings that show the
behaviour against the others that are named, or against everything else where none are; for a choice
of the answer that shows it against the other. `Behaviour.validity` says how well the score tells
prompts apart that it was not made from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.data.prompt_sets import ContrastSet, contrast, texts_sha256
from interp.errors import DataError
from interp.interventions import Placement
from interp.models import LoadedModel
from interp.predict import readout
from interp.prompts import Style, Tokens, tokenise
from interp.scores import auroc, exclusive_tokens, opening_odds, openings_score
from interp.stats import Interval, bootstrap, wilson

PLACE = "{prompt}"


@dataclass(frozen=True, eq=False)
class Reading:
    """Scores in nats, float64, and float32 log probabilities of the next token after prompts."""

    scores: Float[Tensor, " sample"]
    log_probs: Float[Tensor, "sample vocab"]


@dataclass(frozen=True)
class Behaviour:
    """Prompts that show a behaviour and prompts that do not, as they are put to the model.

    `shows` and `others` are openings of an answer, their first space included where the prompt ends
    without one. Of a `choice` they are empty: the prompts of a pair differ in the answer that they
    end with, and the question before it is what is asked. `style` is how prompts are put. Where
    there is a way to `classify` a whole answer, experiments count answers by it; else an answer
    shows the behaviour where its score is above 0.
    """

    name: str
    contrast: ContrastSet
    shows: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    choice: bool = False
    style: Style = "template"
    classify: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        if self.choice and (self.shows or self.others or not self.contrast.paired):
            raise DataError(
                f"{self.name}: a choice needs pairs of prompts that differ in the answer they end "
                "with, and no openings."
            )
        if not self.choice and not self.shows:
            raise DataError(f"{self.name}: name openings that show it (shows), or say choice.")

    @property
    def sha256(self) -> str:
        """Of the prompts and of what their answers are scored by."""
        how = self.shows, self.others, ["choice"] if self.choice else []
        return texts_sha256(self.contrast.positive, self.contrast.negative, *how)

    def asked(self, prompts: Sequence[str]) -> list[str]:
        """What the model is asked for a score of these prompts: themselves, or their questions."""
        return [self._questions[prompt].text for prompt in prompts] if self.choice else [*prompts]

    @cached_property
    def _questions(self) -> dict[str, "Question"]:
        """The question of each prompt of a choice."""
        found = {}
        for pair in zip(self.contrast.positive, self.contrast.negative, strict=True):
            found |= dict.fromkeys(pair, question_of(*pair, self.style))
        return found

    def scores(
        self, model: LoadedModel, prompts: Sequence[str], edits: Sequence[Placement] = ()
    ) -> Float[Tensor, " sample"]:
        """Log odds that the answer to each prompt shows the behaviour, in nats, float64.

        Of a choice, prompts are those of the contrast set, either of a pair.
        """
        tokens = tokenise(model, self.asked(prompts), self.style)
        return self.read(model, prompts, tokens, edits).scores

    def read(
        self,
        model: LoadedModel,
        prompts: Sequence[str],
        tokens: Tokens,
        edits: Sequence[Placement] = (),
    ) -> Reading:
        """Scores of prompts that have been tokenised as they are `asked`, and the next token."""
        if self.choice:
            return self._choices(model, prompts, tokens, edits)
        ids = exclusive_tokens(model, [*self.shows, *self.others])
        found, n = readout(model, tokens, edits, continuations=ids), len(self.shows)
        both = found.continuations
        scores = openings_score(both, n) if self.others else opening_odds(both)
        return Reading(scores, found.log_probs)

    def _choices(
        self, model: LoadedModel, prompts: Sequence[str], tokens: Tokens, edits: Sequence[Placement]
    ) -> Reading:
        groups: dict[tuple[str, str], list[int]] = {}
        for row, prompt in enumerate(prompts):
            question = self._questions[prompt]
            groups.setdefault((question.shows, question.other), []).append(row)
        scores = torch.empty(len(prompts), dtype=torch.float64)
        log_probs = torch.empty(len(prompts), len(model.head))
        for answers, rows in groups.items():
            ids = [model.tokenizer.encode(answer, add_special_tokens=False) for answer in answers]
            found = readout(model, tokens[rows], edits, continuations=ids)
            shows, other = found.continuations.T
            scores[rows], log_probs[rows] = shows - other, found.log_probs
        return Reading(scores, log_probs)

    def validity(
        self, model: LoadedModel, positive: Sequence[str] = (), negative: Sequence[str] = ()
    ) -> Interval:
        """How well the score tells prompts apart, by default all; with its 95% interval.

        The probability that a prompt which shows the behaviour scores above one that does not
        (AUROC; bootstrap over prompts); of a choice the share of questions that the model answers
        with the behaviour (Wilson).
        """
        shown = self.scores(model, positive or self.contrast.positive).numpy()
        if self.choice:
            return wilson(int((shown > 0).sum()), len(shown))
        others = self.scores(model, negative or self.contrast.negative).numpy()
        return bootstrap(_auroc, [shown, others], paired=False)


@dataclass(frozen=True)
class Question:
    """What is asked, and the two answers of which one shows the behaviour."""

    text: str
    shows: str
    other: str


def question_of(positive: str, negative: str, style: Style) -> Question:
    """The words that a pair begins with, and what each ends with.

    Under a template an answer begins a turn of its own, elsewhere it goes on after the question.
    Raises DataError where the pair has no common beginning, or one prompt goes on after the other.
    """
    alike = takewhile(lambda both: both[0] == both[1], zip(positive, negative, strict=False))
    shared = "".join(one for one, _ in alike)
    cut = max(shared.rfind(" "), shared.rfind("\n"))
    answers = positive[cut:], negative[cut:]
    if style == "template":
        answers = answers[0].strip(), answers[1].strip()
    one, other = (answer.strip() for answer in answers)
    if cut < 1 or not (one and other) or one.startswith(other) or other.startswith(one):
        raise DataError(
            f"A choice needs one question with two answers; got {positive[:60]!r} and "
            f"{negative[:60]!r}."
        )
    return Question(positive[:cut], *answers)


def is_question(positive: str, negative: str, style: Style) -> bool:
    """Whether a pair is one question with two answers."""
    try:
        question_of(positive, negative, style)
    except DataError:
        return False
    return True


def _auroc(positive: Float[np.ndarray, " p"], negative: Float[np.ndarray, " n"]) -> float:
    labels = np.arange(len(positive) + len(negative)) < len(positive)
    return auroc(np.concatenate([positive, negative]), labels)


def framed(found: ContrastSet, frame: str) -> ContrastSet:
    """The contrast set with every prompt put into a frame, a text that holds {prompt} once."""
    if frame.count(PLACE) != 1:
        raise DataError(f"frame is {frame!r}; expected a text that holds {PLACE} once.")
    sides = (
        [frame.replace(PLACE, text) for text in side] for side in (found.positive, found.negative)
    )
    return contrast(found.name, *sides, found.licence, found.paired)
