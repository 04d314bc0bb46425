"""Measurements of experiment 05: answers and scores of prompts under an edit, each one a cell.

An edit is ablation of a direction at every state, addition of a vector at one site, or
orthogonalised weights. Of an answer only its class is kept; of a prompt only the start of its hash.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab import Lab
from interp import nulls
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.forward import continuation_kl, readout, text_damage, text_log_probs
from interp.generation import generate
from interp.interventions import Add, Placement, Scale, ablate
from interp.prompts import Tokens, tokenise_text
from interp.scores import RefusalReadout, classify, kl_divergence, log_odds, refusal_scores
from interp.sites import Site, everywhere
from interp.weights import orthogonalised

NULL_FAMILIES = ("isotropic", "covariance_matched", "label_permuted")
ORTHOGONAL_FAMILIES = NULL_FAMILIES[:2]


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
        if family == "isotropic":
            return nulls.isotropic(self.direction, n, seed)
        if family == "covariance_matched":
            pooled = torch.cat([self.positive, self.negative])
            return nulls.covariance_matched(self.direction, pooled, n, seed)
        if family == "label_permuted":
            return nulls.label_permuted(self.positive, self.negative, self.direction, n, seed)
        raise ExperimentError(f"No null family '{family}'; there are {', '.join(NULL_FAMILIES)}.")

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
    texts: tuple[str, ...]
    text_tokens: int
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
            answers = generate(model, tokens, self.answer_tokens, edit.placements)
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

    @cached_property
    def _passages(self) -> Tokens:
        return tokenise_text(self.lab.model, self.texts, self.text_tokens)

    @cached_property
    def _text_base(self) -> Float[Tensor, "text pos vocab"]:
        return text_log_probs(self.lab.model, self._passages)

    def text(self, key: str, edit: Edit) -> dict[str, list[float]]:
        """KL(base || edited) and losses per passage of ordinary text, in nats per token."""
        return self.lab.cell(f"text/{key}", lambda: self._text(edit))

    def _text(self, edit: Edit) -> dict[str, list[float]]:
        damage = text_damage(self.lab.model, self._passages, edit.placements, self._text_base)
        return {
            "kl": damage.kl.clamp_min(0).tolist(),
            "loss": damage.loss.tolist(),
            "base_loss": damage.base_loss.tolist(),
        }

    def answer_kl(self, edits: Sequence[Edit], n: int) -> dict[str, list[float]]:
        """KL(base || edited) per harmless prompt over the tokens of the base model's answer."""
        return self.lab.cell("answer_kl", lambda: self._answer_kl(edits, n))

    def _answer_kl(self, edits: Sequence[Edit], n: int) -> dict[str, list[float]]:
        model, tokens = self.lab.model, self.lab.tokens(self.prompts["harmless"][:n])
        answers = generate(model, tokens, self.answer_tokens)
        return {
            edit.name: continuation_kl(model, tokens, answers, edit.placements)
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


def random_directions(bench: Bench, source: Source, n: int) -> list[tuple[str, int, Direction]]:
    """`n` random directions of every family, as family, number and direction."""
    seeds = bench.lab.rng("05.nulls").integers(2**31, size=len(NULL_FAMILIES)).tolist()
    return [
        (family, index, direction)
        for family, seed in zip(NULL_FAMILIES, seeds, strict=True)
        for index, direction in enumerate(source.null_directions(family, n, seed))
    ]


def null_draws(
    bench: Bench, source: Source, n: int, n_generated: int, n_prompts: int
) -> pd.DataFrame:
    """Every random direction with its effects on the openings score, and on the answers of some.

    Columns: family, draw, ablation, addition (mean effects, nats), harmful_rate, harmless_rate
    (refusal rates of `n_prompts` prompts when ablated and when added; NaN where not generated).
    """
    drawn = random_directions(bench, source, n)
    rows = []
    for family, index, direction in bench.lab.progress(drawn, "random directions", len(drawn)):
        key = f"{family}/{index}"
        effects = bench.effects(key, source, direction)
        rates = (
            null_rates(bench, source, direction, key, n_prompts)
            if index < n_generated
            else {"harmful_rate": float("nan"), "harmless_rate": float("nan")}
        )
        means = {name: float(values.mean()) for name, values in effects.items()}
        rows.append({"family": family, "draw": index, **means, **rates})
    return pd.DataFrame(rows)


def null_rates(
    bench: Bench, source: Source, direction: Direction, key: str, n: int
) -> dict[str, float]:
    """Refusal rates with a random direction ablated (harmful) and added (harmless)."""
    edits: dict[str, Edit] = {
        "harmful": bench.removing(direction.unit),
        "harmless": adding(source.coefficient * direction.vector, source.site),
    }
    return {
        f"{kind}_rate": share(
            bench.classes(f"null/{kind}/{key}", bench.prompts[kind][:n], edit), "refused"
        )
        for kind, edit in edits.items()
    }


def re_extractions(bench: Bench, source: Source, n: int) -> pd.DataFrame:
    """Effects of the direction extracted again from random halves of the train prompts.

    Columns: draw, cosine with the direction, ablation, addition (mean effects, nats).
    """
    rng = bench.lab.rng("05.re_extraction")
    rows = []
    for index in range(n):
        direction = source.again(rng)
        effects = bench.effects(f"again/{index}", source, direction)
        cosine = float(direction.unit.double() @ source.direction.unit.double())
        means = {name: float(values.mean()) for name, values in effects.items()}
        rows.append({"draw": index, "cosine": cosine, **means})
    return pd.DataFrame(rows)


def dose_rows(
    bench: Bench, source: Source, coefficients: Sequence[float], factors: Sequence[float]
) -> Iterator[dict[str, object]]:
    """Effect and damage of adding more and more, and of removing more and more.

    Rows: operator (add, remove), dose, damage (mean KL on text), values (effect per prompt).
    """
    base = {kind: np.array(bench.openings("base", kind, BASE)) for kind in ("harmful", "harmless")}
    unit, vector = source.direction.unit, source.direction.vector
    doses: list[tuple[str, float, Edit, str, Callable[[np.ndarray], np.ndarray]]] = [
        ("add", c, adding(c * vector, source.site, f"added/{c:g}"), "harmless", lambda h: h)
        for c in coefficients
    ]
    doses += [("remove", 1 - f, bench.scaling(unit, f), "harmful", lambda h: -h) for f in factors]
    for operator, dose, edit, kind, sign in bench.lab.progress(doses, "doses", len(doses)):
        scores = np.array(bench.openings(edit.name, kind, edit))
        yield {
            "operator": operator,
            "dose": dose,
            "damage": float(np.mean(bench.text(edit.name, edit)["kl"])),
            "values": sign(scores - base[kind]),
        }


def null_dose_rows(
    bench: Bench, source: Source, draws: pd.DataFrame, n: int
) -> Iterator[dict[str, object]]:
    """Effect and damage of the first `n` of `draws` of each orthogonalised family."""
    measured = draws.set_index(["family", "draw"])
    per_family = len(draws) // len(NULL_FAMILIES)
    for family, index, direction in random_directions(bench, source, per_family):
        if family not in ORTHOGONAL_FAMILIES or index >= n:
            continue
        vector = source.coefficient * direction.vector
        for operator, effect, dose, edit in (
            ("add", "addition", source.coefficient, adding(vector, source.site)),
            ("remove", "ablation", 1.0, bench.removing(direction.unit)),
        ):
            yield {
                "operator": operator,
                "dose": dose,
                "damage": float(np.mean(bench.text(f"{effect}/{family}/{index}", edit)["kl"])),
                "effect": float(measured.loc[(family, index), effect]),  # type: ignore[arg-type]
            }
