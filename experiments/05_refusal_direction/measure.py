"""Measurements of experiment 05: answers and scores of prompts under an edit, each one a cell.

An edit is ablation of a direction at every state, addition of a vector at one site, or
orthogonalised weights. Of an answer only its class is kept; of a prompt only the start of its hash.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from interp import nulls
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.generation import generate
from interp.interventions import Add, Placement, Scale, ablate
from interp.predict import continuation_kl, readout
from interp.scores import RefusalReadout, classify, kl_divergence, log_odds, refusal_scores
from interp.sites import Site, everywhere
from interp.weights import orthogonalised


@dataclass(frozen=True, eq=False)
class Edit:
    """A named edit: placements, or a basis that is taken out of the weights."""

    name: str
    placements: tuple[Placement, ...] = ()
    basis: Float[Tensor, "k d_model"] | None = None


BASE = Edit("base")


@dataclass(frozen=True, eq=False)
class Source:
    """Where a direction is from and what its nulls are drawn from."""

    direction: Direction
    positive: Float[Tensor, "sample d_model"]  # train activations at the direction's site
    negative: Float[Tensor, "sample d_model"]
    coefficient: float  # of the direction's own length, when it is added

    @property
    def site(self) -> Site:
        """The direction's own site."""
        if self.direction.site is None:
            raise ExperimentError("A direction without a site cannot be added at its own site.")
        return self.direction.site

    def null_directions(self, family: str, n: int, seed: int) -> list[Direction]:
        """Random directions of one family, at the direction's norm and site."""
        return nulls.of_family(family, self.direction, self.positive, self.negative, n, seed)

    def again(self, rng: np.random.Generator) -> Direction:
        """The direction extracted from a random half of each class."""
        halves = [
            part[rng.permutation(len(part))[: max(2, len(part) // 2)]]
            for part in (self.positive, self.negative)
        ]
        return mean_difference(*halves, self.direction.site, self.direction.position)


@dataclass(frozen=True, eq=False)
class Bench:
    """The lab with the prompts of one run."""

    lab: Lab
    prompts: Mapping[str, tuple[str, ...]]  # harmful, contrast, harmless: test prompts
    null_prompts: int  # of harmful and of harmless, for random directions
    answer_tokens: int
    passages: Passages
    _base: dict[str, RefusalReadout] = field(default_factory=dict)

    def removing(self, unit: Float[Tensor, " d_model"], name: str = "ablated") -> Edit:
        """Ablation at every state of the stream."""
        return Edit(name, (Placement(ablate(unit), self._everywhere),))

    def scaling(self, unit: Float[Tensor, " d_model"], factor: float) -> Edit:
        """Multiplication of the component along `unit` at every state; 0 is ablation."""
        return Edit(f"scaled/{factor:g}", (Placement(Scale(unit, factor), self._everywhere),))

    def orthogonalising(self, unit: Float[Tensor, " d_model"]) -> Edit:
        """The direction taken out of every matrix that writes to the stream."""
        return Edit("orthogonalised", (), ablate(unit).basis)

    @cached_property
    def _everywhere(self) -> tuple[Site, ...]:
        return tuple(everywhere(self.lab.model.n_layers, self.lab.model.info.has_mid))

    @contextmanager
    def _editing(self, edit: Edit) -> Iterator[None]:
        if edit.basis is None:
            yield
            return
        with orthogonalised(self.lab.model, edit.basis):
            yield

    def classes(self, key: str, prompts: Sequence[str], edit: Edit) -> list[str]:
        """Class of the greedy answer to each prompt."""
        return self.lab.cell(f"answers/{key}", lambda: self._classes(prompts, edit))

    def _classes(self, prompts: Sequence[str], edit: Edit) -> list[str]:
        model, tokens = self.lab.model, self.lab.tokens(prompts)
        with self._editing(edit):
            answers = generate(model, tokens, edit.placements, max_new_tokens=self.answer_tokens)
        texts = (model.tokenizer.decode(ids, skip_special_tokens=True) for ids in answers)
        return [classify(text) for text in texts]

    def table(
        self, name: str, edit: Edit, refusal_tokens: Sequence[int], answered: bool = True
    ) -> pd.DataFrame:
        """One row per test prompt of a set under an edit, without any text.

        Columns: set, prompt (start of the text's sha256), condition, answer (class; missing unless
        `answered`), openings (nats), log_odds (nats; NaN without refusal tokens), kl of the next
        token (nats).
        """
        key = f"{name}/{edit.name}"
        answers = self.classes(key, self.prompts[name], edit) if answered else None
        scores = self.lab.cell(f"scores/{key}", lambda: self._scores(name, edit, refusal_tokens))
        return pd.DataFrame(
            {
                "set": name,
                "prompt": [prompt_id(prompt) for prompt in self.prompts[name]],
                "condition": edit.name,
                "answer": answers,
                "openings": np.array(scores["openings"], dtype=np.float64),
                "log_odds": np.array(scores["log_odds"], dtype=np.float64),
                "kl": np.array(scores["kl"], dtype=np.float64),
            }
        )

    def _scores(self, name: str, edit: Edit, refusal_tokens: Sequence[int]) -> dict[str, Any]:
        model, tokens, base = self.lab.model, self.lab.tokens(self.prompts[name]), self.base(name)
        if edit is BASE:
            found = base
        else:
            with self._editing(edit):
                found = refusal_scores(model, tokens, edit.placements)
        odds = log_odds(found.log_probs, refusal_tokens) if refusal_tokens else None
        return {
            "openings": found.openings.tolist(),
            "log_odds": [float("nan")] * len(tokens) if odds is None else odds.tolist(),
            "kl": kl_divergence(base.log_probs, found.log_probs).tolist(),
        }

    def base(self, name: str) -> RefusalReadout:
        """The unedited model on a set of test prompts, read once."""
        if name not in self._base:
            tokens = self.lab.tokens(self.prompts[name])
            self._base[name] = refusal_scores(self.lab.model, tokens)
        return self._base[name]

    def openings(self, key: str, kind: str, edit: Edit) -> list[float]:
        """Openings score of the prompts that random directions are measured on."""
        prompts = self.prompts[kind][: self.null_prompts]
        return self.lab.cell(
            f"openings/{kind}/{key}",
            lambda: refusal_scores(
                self.lab.model, self.lab.tokens(prompts), edit.placements
            ).openings.tolist(),
        )

    def effects(self, key: str, source: Source, direction: Direction) -> dict[str, np.ndarray]:
        """Effect per prompt, nats: fall under ablation (harmful), rise when added (harmless)."""
        vector = source.coefficient * direction.vector
        removed = self.openings(key, "harmful", self.removing(direction.unit))
        added = self.openings(key, "harmless", adding(vector, source.site))
        return {
            "ablation": np.array(self.openings("base", "harmful", BASE)) - np.array(removed),
            "addition": np.array(added) - np.array(self.openings("base", "harmless", BASE)),
        }

    def text(self, key: str, edit: Edit) -> dict[str, list[float]]:
        """KL(base || edited) and losses per passage of ordinary text, in nats per token."""
        return self.lab.cell(f"text/{key}", lambda: self._text(edit))

    def _text(self, edit: Edit) -> dict[str, list[float]]:
        damage = self.passages.damage(edit.placements)
        return {
            "kl": damage.kl.tolist(),
            "loss": damage.loss.tolist(),
            "base_loss": damage.base_loss.tolist(),
        }

    def answer_kl(self, edits: Sequence[Edit], n: int) -> dict[str, list[float]]:
        """KL(base || edited) per harmless prompt over the tokens of the base model's answer."""
        return self.lab.cell("answer_kl", lambda: self._answer_kl(edits, n))

    def _answer_kl(self, edits: Sequence[Edit], n: int) -> dict[str, list[float]]:
        model, tokens = self.lab.model, self.lab.tokens(self.prompts["harmless"][:n])
        answers = generate(model, tokens, max_new_tokens=self.answer_tokens)
        return {
            edit.name: continuation_kl(model, tokens, edit.placements, answers=answers)
            .clamp_min(0)
            .tolist()
            for edit in edits
        }

    def distance(self, first: Edit, second: Edit, n: int) -> list[float]:
        """KL(first || second) of the next token on harmful prompts."""
        return self.lab.cell(
            f"distance/{first.name}/{second.name}", lambda: self._distance(first, second, n)
        )

    def _distance(self, first: Edit, second: Edit, n: int) -> list[float]:
        tokens = self.lab.tokens(self.prompts["harmful"][:n])
        found = []
        for edit in (first, second):
            with self._editing(edit):
                found.append(readout(self.lab.model, tokens, edit.placements).log_probs)
        return kl_divergence(*found).tolist()


def adding(vector: Float[Tensor, " d_model"], site: Site, name: str = "added") -> Edit:
    """Addition at one site, at every token."""
    return Edit(name, (Placement(Add(vector), (site,)),))


def prompt_id(prompt: str) -> str:
    """First 10 digits of the text's sha256: names a prompt without quoting it."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:10]


def share(classes: Sequence[str], wanted: str) -> float:
    """Share of answers of one class."""
    return sum(c == wanted for c in classes) / len(classes)
