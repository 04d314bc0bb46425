"""What edits of a model do: scores of the behaviour, answers and damage; each a cell.

The behaviour is the lab's: for refusal a score is the refusal odds, in nats, and an answer is
classified; of any other behaviour an answer shows it where its score is above 0.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from interp.behaviours import Reading
from interp.errors import ExperimentError
from interp.generation import answers, generate
from interp.interventions import Add, Placement, ablate
from interp.predict import continuation_kl, readout
from interp.prompts import Tokens
from interp.scores import kl_divergence
from interp.sites import Site
from interp.weights import orthogonalised

T = TypeVar("T")
FIRST_WORDS = 8  # of an answer; no more of it is kept
SHOWING = frozenset({"refused", "shown"})  # classes of answers that show the behaviour


@dataclass(frozen=True, eq=False)
class Edit:
    """A named edit of the model: placements, or a basis that is taken out of the weights.

    The name is part of the key of every cell, so no two edits of one meter may share it.
    """

    name: str
    placements: Sequence[Placement] = ()
    basis: Float[Tensor, "k d_model"] | None = None

    @classmethod
    def ablating(cls, unit: Float[Tensor, " d_model"], name: str = "ablated") -> "Edit":
        """Ablation at every state of the stream."""
        return cls(name, (Placement(ablate(unit)),))

    @classmethod
    def adding(cls, vector: Float[Tensor, " d_model"], site: Site, name: str = "added") -> "Edit":
        """Addition at one site, at every token."""
        return cls(name, (Placement(Add(vector), (site,)),))

    @classmethod
    def orthogonalising(
        cls, unit: Float[Tensor, " d_model"], name: str = "orthogonalised"
    ) -> "Edit":
        """The direction taken out of every matrix that writes to the stream."""
        return cls(name, (), ablate(unit).basis)


BASE = Edit("base")


@dataclass(frozen=True, eq=False)
class Meter:
    """Measures edits on named sets of prompts and on passages of text.

    Every measurement is a cell, so that a broken run resumes. `name` begins the keys of a meter
    that is not the only one of its experiment. The cells of a `shared` meter serve the other
    experiments of a run, so its name has to say all that the prompts depend on.
    """

    lab: Lab
    prompts: Mapping[str, tuple[str, ...]]
    passages: Passages | None = None
    answer_tokens: int = 24
    name: str = ""
    shared: bool = False
    _read: dict[str, Any] = field(default_factory=dict)

    def scores(self, on: str, edit: Edit = BASE) -> Float[np.ndarray, " sample"]:
        """Scores of the prompts of one set under an edit, in nats."""
        return np.array(self._cell("scores", on, edit, lambda: self._scores(on, edit)), np.float64)

    def _scores(self, on: str, edit: Edit) -> list[float]:
        return self._reading(on, edit).scores.tolist()

    def _reading(self, on: str, edit: Edit) -> Reading:
        with self.editing(edit):
            model, prompts, tokens = self.lab.model, self.prompts[on], self.tokens(on)
            return self.lab.studied.read(model, prompts, tokens, edit.placements)

    def scores_and_kl(self, on: str, edit: Edit, base: str) -> tuple[np.ndarray, np.ndarray]:
        """Scores, and KL of the next token from the unedited model on the set `base`, in nats.

        One pass for both. The sets hold as many prompts; those of a row are compared.
        """
        key = f"scores and kl from {base}"
        found = self._cell(key, on, edit, lambda: self._scores_and_kl(on, edit, base))
        scores, kl = np.array(found, np.float64)
        return scores, kl

    def _scores_and_kl(self, on: str, edit: Edit, base: str) -> list[list[float]]:
        before = self._once(f"next token of {base}", lambda: self._reading(base, BASE).log_probs)
        found = self._reading(on, edit)
        return [found.scores.tolist(), kl_divergence(before, found.log_probs).tolist()]

    def kl(self, on: str, edit: Edit, base: Edit = BASE) -> Float[np.ndarray, " sample"]:
        """KL(base || edited) of the next token per prompt, in nats, without any scores."""
        kind = "kl" if base is BASE else f"kl from {base.name}"
        return np.array(self._cell(kind, on, edit, lambda: self._kl(on, edit, base)), np.float64)

    def _kl(self, on: str, edit: Edit, base: Edit) -> list[float]:
        key = f"next token of {on}, {base.name}"
        before = self._once(key, lambda: self.next_token(on, base))
        return kl_divergence(before, self.next_token(on, edit)).tolist()

    def next_token(self, on: str, edit: Edit) -> Float[Tensor, "sample vocab"]:
        """Log probabilities of the next token under an edit."""
        with self.editing(edit):
            return readout(self.lab.model, self.tokens(on), edit.placements).log_probs

    def answers(self, on: str, edit: Edit = BASE) -> list[str]:
        """Class of the answer to each prompt, of which SHOWING are those that show the behaviour.

        For refusal that of the greedy answer (`interp.refusal_classifier`).
        """
        return [answer for answer, _ in self._answered(on, edit)]

    def first_words(self, on: str, edit: Edit = BASE) -> list[str]:
        """The first words of the greedy answer to each prompt, FIRST_WORDS at most."""
        return [words for _, words in self._answered(on, edit)]

    def _answered(self, on: str, edit: Edit) -> list[tuple[str, str]]:
        if self.lab.studied.classify is None:
            return [("shown" if x > 0 else "not shown", "") for x in self.scores(on, edit)]
        return self._cell("answers", on, edit, lambda: self._answers(on, edit))

    def _answers(self, on: str, edit: Edit) -> list[tuple[str, str]]:
        with self.editing(edit):
            model, tokens, length = self.lab.model, self.tokens(on), self.answer_tokens
            found = answers(model, tokens, edit.placements, max_new_tokens=length)
        class_of = self.lab.studied.classify or str
        return [(class_of(answer), " ".join(answer.split()[:FIRST_WORDS])) for answer in found]

    def shown(self, on: str, edit: Edit = BASE) -> list[bool]:
        """Whether each answer shows the behaviour; one that also complies does not."""
        return [answer in SHOWING for answer in self.answers(on, edit)]

    def answer_kl(self, on: str, edit: Edit) -> Float[np.ndarray, " sample"]:
        """KL(base || edited) per prompt, averaged over the tokens of the unedited answer, nats."""
        values = self._cell("answer_kl", on, edit, lambda: self._answer_kl(on, edit))
        return np.array(values, np.float64)

    def _answer_kl(self, on: str, edit: Edit) -> list[float]:
        model, tokens, placements = self.lab.model, self.tokens(on), _placements(edit)
        # Whole answers are not for cells, which lie on disk: a broken run generates them again.
        unedited = self._once(
            f"greedy answers to {on}",
            lambda: generate(model, tokens, max_new_tokens=self.answer_tokens),
        )
        kl = continuation_kl(model, tokens, placements, answers=unedited)
        return kl.clamp_min(0).tolist()

    def text(self, edit: Edit) -> dict[str, Float[np.ndarray, " text"]]:
        """Per passage, nats per token: kl(base || edited), loss (edited) and base_loss."""
        cell = self._cell("text", "passages", edit, lambda: self._text(edit))
        return {name: np.array(values, np.float64) for name, values in cell.items()}

    def _text(self, edit: Edit) -> dict[str, list[float]]:
        if self.passages is None:
            raise ExperimentError("This meter was given no passages, so it has no damage on text.")
        damage = self.passages.damage(_placements(edit))
        return {name: getattr(damage, name).tolist() for name in ("kl", "loss", "base_loss")}

    def tokens(self, on: str) -> Tokens:
        """The tokens of a set, as the model is asked."""
        return self.lab.tokens(self.lab.studied.asked(self.prompts[on]))

    @contextmanager
    def editing(self, edit: Edit) -> Iterator[None]:
        """The model with the edit's basis, if it has one, taken out of its weights."""
        if edit.basis is None:
            yield
            return
        with orthogonalised(self.lab.model, edit.basis):
            yield

    def _cell(self, kind: str, on: str, edit: Edit, compute: Callable[[], T]) -> T:
        keep = self.lab.shared if self.shared else self.lab.cell
        return keep("/".join(filter(None, (self.name, kind, on, edit.name))), compute)

    def _once(self, key: str, compute: Callable[[], T]) -> T:
        if key not in self._read:
            self._read[key] = compute()
        return self._read[key]


def _placements(edit: Edit) -> Sequence[Placement]:
    if edit.basis is not None:
        raise ExperimentError(
            f"Damage to answers and text is measured under placements; '{edit.name}' edits weights."
        )
    return edit.placements


def share(classes: Sequence[str], wanted: Collection[str]) -> float:
    """Share of answers of some classes."""
    return sum(c in wanted for c in classes) / len(classes)
