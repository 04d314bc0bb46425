"""Measures edits of the model on one split of the data, cell by cell, in nats."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from interp.interventions import Placement
from interp.prompts import Tokens
from interp.scores import RefusalReadout, kl_divergence, refusal_scores


@dataclass(frozen=True, eq=False)
class Measured:
    """What one edit does: openings score per prompt, KL per harmless prompt and per text."""

    harmful: Float[np.ndarray, " sample"]
    harmless: Float[np.ndarray, " sample"]
    kl: Float[np.ndarray, " sample"]
    text_kl: Float[np.ndarray, " text"]

    @property
    def scores(self) -> Float[np.ndarray, " sample"]:
        """Openings scores of both classes, harmful first."""
        return np.concatenate([self.harmful, self.harmless])

    def effect(self, base: "Measured", target: str) -> Float[np.ndarray, " sample"]:
        """Change in the wanted direction per prompt: bypass on harmful, induce on harmless."""
        if target == "bypass":
            return base.harmful - self.harmful
        return self.harmless - base.harmless

    def damage(self, target: str) -> float:
        """Mean KL that counts against a target (bypass: next token on harmless too)."""
        text = float(self.text_kl.mean())
        return max(text, float(self.kl.mean())) if target == "bypass" else text


@dataclass(frozen=True, eq=False)
class Meter:
    """Measures edits on one split; every measurement is a cell, so that a broken run resumes."""

    lab: Lab
    split: str
    harmful: tuple[str, ...]
    harmless: tuple[str, ...]
    passages: Passages

    @cached_property
    def _prompts(self) -> Tokens:
        return self.lab.tokens([*self.harmful, *self.harmless])

    @cached_property
    def _base(self) -> RefusalReadout:
        return refusal_scores(self.lab.model, self._prompts)

    def base(self) -> Measured:
        """The unedited model."""
        n = len(self.harmful)
        scores = self.lab.cell(f"{self.split}/base", lambda: self._base.openings.tolist())
        zero = np.zeros(len(self.harmless)), np.zeros(len(self.passages))
        return Measured(np.array(scores[:n]), np.array(scores[n:]), *zero)

    def measure(self, key: str, edit: Sequence[Placement], with_text: bool = True) -> Measured:
        """An edit, named by a key that no other edit of this split has.

        Without text, half the time is saved and `text_kl` is empty.
        """
        cell = self.lab.cell(f"{self.split}/{key}", lambda: self._measure(edit, with_text))
        n = len(self.harmful)
        scores = np.array(cell["scores"], dtype=np.float64)
        return Measured(scores[:n], scores[n:], np.array(cell["kl"]), np.array(cell["text_kl"]))

    def _measure(self, edit: Sequence[Placement], with_text: bool) -> dict[str, list[float]]:
        n = len(self.harmful)
        edited = refusal_scores(self.lab.model, self._prompts, edit)
        kl = kl_divergence(self._base.log_probs[n:], edited.log_probs[n:])
        cell = {"scores": edited.openings.tolist(), "kl": kl.tolist(), "text_kl": []}
        if with_text:
            cell["text_kl"] = self.passages.damage(edit).kl.tolist()
        return cell
