"""What locks, keys and tunings do, as cells; of a prompt its hash is kept."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, SHOWING, Edit, Meter
from experiments.lab.passages import Passages
from experiments.lab.scale import Scale, mean_differences
from experiments.lab.selection import Selection, candidate_sites
from interp.activations import capture
from interp.directions import Direction, mean_difference
from interp.errors import ModelError
from interp.exports.keys import WORDS, put_back, removed_from
from interp.generation import answers
from interp.interventions import Placement, ablate
from interp.models import LoadedModel
from interp.prompts import tokenise, tokenise_text
from interp.sites import Site
from interp.tuning import tuned
from interp.weights import adding, orthogonalised, residual_writers, written_along

from .protocol import BATCH, N_DOMAINS, N_KEYS, N_STEPS, N_TAUGHT, OTHER, RATE, Config

SCORED = "scored"  # as many prompts that show the behaviour, then that do not
SIDES = ("harmful", "harmless")
MORE = ((4, 20), (64, 20), (16, 100), (64, 500))  # examples and steps of tunings shown beside
LAST = (-1, -2, -3, -4)  # tokens whose mean state is a sentence's
SENTENCE_TOKENS = 32
FOLDS = 4
Scores = Float[np.ndarray, " sample"]


def meter_for(config: Config, lab: Lab) -> Meter:
    """Test prompts that are answered, and those whose gap is measured."""
    found = {}
    for side, texts in zip(SIDES, (lab.harmful_test.texts, lab.harmless_test.texts), strict=True):
        order = lab.rng(f"14.{side}").permutation(len(texts))[: config.n_test]
        found[side] = tuple(texts[int(i)] for i in order)
    n = min(config.n_scored, *map(len, found.values()))
    both = tuple(text for side in SIDES for text in found[side][:n])
    return Meter(lab, found | {SCORED: both}, answer_tokens=config.answer_tokens)


def gaps(scores: Scores) -> Scores:
    """Scores of prompts that show a behaviour minus those of as many that do not, row by row."""
    shown, others = np.split(scores, 2)
    return shown - others


def locking(direction: Direction, *more: Placement) -> Edit:
    """The direction taken out of the weights; what is added to the locked model besides."""
    return Edit("locked with its vector" if more else "locked", more, ablate(direction.unit).basis)


def can_be_locked(lab: Lab) -> bool:
    """Whether the model writes to the stream by matrices alone."""
    with suppress(ModelError):
        return bool(residual_writers(lab.model)) and lab.model.dtype in WORDS
    return False


def n_changed(lab: Lab, direction: Direction) -> tuple[int, int]:
    """How many of the locked tensors the right key does not restore bit for bit; and of how many."""
    return lab.cell("restored", lambda: _changed(lab.model, direction.unit))


def _changed(model: LoadedModel, unit: Float[Tensor, " d_model"]) -> tuple[int, int]:
    before = {writer.name: writer.parameter.detach() for writer in residual_writers(model)}
    along = {writer.name: written_along(writer, unit) for writer in residual_writers(model)}
    changed = 0
    with orthogonalised(model, unit[None]):
        for writer in residual_writers(model):
            original, locked = before[writer.name], writer.parameter.detach()
            key = removed_from(original, locked, unit, along[writer.name], writer.axis)
            word = WORDS[original.dtype]
            found = put_back(locked, unit, key)
            changed += not torch.equal(found.view(word), original.contiguous().view(word))
    return changed, len(before)


def wrong_keys(meter: Meter, direction: Direction) -> pd.DataFrame:
    """Gaps under wrong keys; columns: kind, key, row, gap (nats)."""
    model, rng = meter.lab.model, meter.lab.rng("14.keys")
    along = {w.name: written_along(w, direction.unit) for w in residual_writers(model)}
    parts = []
    with orthogonalised(model, direction.unit[None]):
        plan = list(_wrong(direction.unit, along, rng))
        for kind, number, unit, components in meter.lab.progress(plan, "wrong keys"):
            with adding(model, unit, components):
                found = gaps(meter.scores(SCORED, Edit(f"wrong/{kind}/{number}")))
            rows = {"kind": kind, "key": number, "row": range(len(found)), "gap": found}
            parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)


class Permuted(Mapping[str, Tensor]):
    """Components of every writer, permuted over its inputs; made when they are asked for."""

    def __init__(self, along: Mapping[str, Tensor], seed: int) -> None:
        self._along, self._seed = along, seed

    def __getitem__(self, name: str) -> Tensor:
        index = list(self._along).index(name)
        rng = np.random.default_rng([self._seed, index])
        return self._along[name][torch.tensor(rng.permutation(len(self._along[name])))]

    def __iter__(self) -> Iterator[str]:
        return iter(self._along)

    def __len__(self) -> int:
        return len(self._along)


def _wrong(
    unit: Tensor, along: Mapping[str, Tensor], rng: np.random.Generator
) -> Iterator[tuple[str, int, Tensor, Mapping[str, Tensor]]]:
    """Random directions, orthogonal to the right one, with its components; and the reverse."""
    for i in range(N_KEYS):
        drawn = torch.tensor(rng.standard_normal(len(unit)), dtype=torch.float32)
        drawn -= (drawn @ unit) * unit
        yield "random", i, drawn / drawn.norm(), along
        yield "permuted", i, unit, Permuted(along, int(rng.integers(2**31)))


@dataclass(frozen=True)
class Dose:
    """How much a tuning teaches; `number` draws its examples and its start."""

    number: int
    n_taught: int = N_TAUGHT
    n_steps: int = N_STEPS

    def __str__(self) -> str:
        return f"{self.n_taught} examples, {self.n_steps} steps/{self.number}"


def doses(config: Config, lab: Lab) -> list[Dose]:
    """All that are measured; none for a model that is too large."""
    millions = sum(part.numel() for part in lab.model.hf.parameters()) / 1e6
    if millions > config.max_tuned:
        return []
    return [*(Dose(i) for i in range(config.n_tunings)),
            *(Dose(0, *more) for more in MORE[: config.n_more])]  # fmt: skip


def answered(meter: Meter, plan: Sequence[Dose], selection: Selection) -> pd.DataFrame:
    """Classes of answers to test prompts; columns: condition, side, prompt (id), answer.

    Harmless ones are only asked where a tuning is compared with them.
    """
    locked, sides = locking(selection.direction), SIDES if plan else SIDES[:1]
    found = {(edit.name, side): meter.answers(side, edit)
             for edit in (BASE, locked) for side in sides}  # fmt: skip
    for dose in meter.lab.progress(plan, "tunings"):
        after = _after(meter, dose, selection)
        found |= {(f"tuned/{dose}", side): after[side] for side in SIDES}
    return pd.concat(ignore_index=True, objs=[
        pd.DataFrame({"condition": condition, "side": side, "answer": classes,
                      "prompt": [_id(text) for text in meter.prompts[side]]})
        for (condition, side), classes in found.items()
    ])  # fmt: skip


def learnt(meter: Meter, plan: Sequence[Dose], selection: Selection) -> list[float]:
    """Mean probability of a refusal opening after the harmful prompts that were taught."""
    return [_after(meter, dose, selection)["learnt"] for dose in plan]


def _after(meter: Meter, dose: Dose, selection: Selection) -> dict[str, Any]:
    return meter.lab.cell(f"tuned/{dose}", lambda: _tuned(meter, dose, selection))


def _tuned(meter: Meter, dose: Dose, selection: Selection) -> dict[str, Any]:
    """Classes of answers of the locked model once it is tuned, and what it learnt."""
    lab, studied = meter.lab, meter.lab.studied
    asked, told = taught(meter, dose, selection)
    with meter.editing(locking(selection.direction)):
        model = tuned(lab.model, asked, told, steps=dose.n_steps, batch_size=BATCH,
                      learning_rate=RATE, seed=dose.number + lab.seed, style=lab.style)  # fmt: skip
    other = Meter(_on(lab, model), meter.prompts, answer_tokens=meter.answer_tokens)
    refused = asked[: len(asked) // 2]
    odds = studied.read(model, refused, lab.tokens(refused)).scores
    return {**{side: other.answers(side) for side in SIDES},
            "learnt": float(odds.sigmoid().mean())}  # fmt: skip


def _on(lab: Lab, model: LoadedModel) -> Lab:
    """A bench on another model, with the lab's behaviour and cells of its own."""
    text = lambda: None  # noqa: E731
    return Lab(model=model, studied=lab.studied, harmful_test=text, harmless_test=text,  # type: ignore[arg-type]
               text=text, style=lab.style, seed=lab.seed)  # type: ignore[arg-type]  # fmt: skip


def taught(meter: Meter, dose: Dose, selection: Selection) -> tuple[list[str], list[str]]:
    """Train prompts, refused ones first, and the answers that they are taught with."""
    lab, prompts, n = meter.lab, selection.prompts, dose.n_taught // 2
    rng = lab.rng(f"14.taught/{dose.number}")
    sides = [[part[i] for i in rng.permutation(rows)[:n]]
             for part, rows in zip(prompts.train, prompts.train_rows, strict=True)]  # fmt: skip
    n = min(map(len, sides))
    said = []
    for edit, texts in zip((BASE, locking(selection.direction)), sides, strict=True):
        with meter.editing(edit):
            tokens = lab.tokens(texts[:n])
            said += answers(lab.model, tokens, max_new_tokens=meter.answer_tokens)
    return [*sides[0][:n], *sides[1][:n]], [text if text.strip() else "." for text in said]


def probed(meter: Meter, direction: Direction) -> pd.DataFrame:
    """How a linear probe, cross-validated, tells harmful prompts; columns: model, harmful, score.

    Logistic regression on the states of the last token at the direction's own site.
    """
    site, texts = direction.site, meter.prompts[SIDES[0]] + meter.prompts[SIDES[1]]
    assert site is not None  # selected directions have one
    label = np.arange(len(texts)) < len(meter.prompts[SIDES[0]])
    edits = {"base": (), "locked": (direction.ablate(),)}
    parts = []
    for name, placed in edits.items():
        states = capture(meter.lab.model, meter.lab.tokens(texts), placed, sites=[site])
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        scores = cross_val_predict(probe, states[:, 0, 0].numpy(), label, cv=FOLDS,
                                   method="decision_function")  # fmt: skip
        parts.append(pd.DataFrame({"model": name, "harmful": label.astype(int), "score": scores}))
    return pd.concat(parts, ignore_index=True)


def domain_sentences(config: Config, lab: Lab) -> tuple[dict[str, list[str]], ...]:
    """Train and test sentences of every domain."""
    found: dict[str, list[str]] = {}
    for topic, sentence in lab.data("topics").examples:
        found.setdefault(topic, []).append(sentence)
    rng, n = lab.rng("14.domains"), config.n_sentences
    order = {name: [texts[i] for i in rng.permutation(len(texts))]
             for name, texts in found.items()}  # fmt: skip
    return ({name: texts[:n] for name, texts in order.items()},
            {name: texts[n : 2 * n] for name, texts in order.items()})  # fmt: skip


def domain_directions(lab: Lab, train: Mapping[str, Sequence[str]]) -> dict[str, Direction]:
    """Of every locked domain, its mean state minus that of all others."""
    site = Site(lab.model.n_layers // 2, "pre")
    texts = [text for part in train.values() for text in part]
    tokens = tokenise(lab.model, texts, "none")
    states = capture(lab.model, tokens, sites=[site], positions=LAST)[:, 0].mean(1)
    named = np.repeat(list(train), [len(part) for part in train.values()])
    return {name: mean_difference(states[named == name], states[named != name], site, -1)
            for name in list(train)[:N_DOMAINS]}  # fmt: skip


def domain_losses(config: Config, lab: Lab) -> pd.DataFrame:
    """Losses of test sentences, in nats per token.

    Columns: domain, row, base, own (its direction ablated), next (the next domain's).
    """
    train, test = domain_sentences(config, lab)
    found, parts = domain_directions(lab, train), []
    names = list(found)
    for name, after in lab.progress(
        list(zip(names, [*names[1:], names[0]], strict=True)), "domains"
    ):
        passages = Passages(lab.model, tuple(test[name]), SENTENCE_TOKENS)
        meter = Meter(lab, {}, passages, name=f"domain/{name}")
        losses = {kind: meter.text(Edit.ablating(found[which].unit, which))
                  for kind, which in (("own", name), ("next", after))}  # fmt: skip
        rows = {"domain": name, "row": range(len(test[name])), "base": losses["own"]["base_loss"]}
        parts.append(pd.DataFrame(rows | {kind: one["loss"] for kind, one in losses.items()}))
    return pd.concat(parts, ignore_index=True)


def other_direction(config: Config, lab: Lab) -> Direction:
    """Of the other behaviour: what takes most from it on validation prompts."""
    sources = mean_differences(lab, candidate_sites(lab, config.n_sites or None), config.n_train)
    scale = Scale.of(lab, "validation", config.n_validation)
    falls = [scale.removed(str(one.direction.site), one.direction).mean() for one in sources]
    return sources[int(np.argmax(falls))].direction


def two_locks(config: Config, meter: Meter, direction: Direction) -> pd.DataFrame:
    """Gaps of both behaviours under both locks.

    Columns: behaviour, row, base, both (locked), refusal (opened with the key of refusal), OTHER.
    """
    lab = meter.lab.on(meter.lab.behaviour(OTHER))
    found = other_direction(config, lab)
    rest = found.unit - (found.unit @ direction.unit) * direction.unit
    edits = {
        "both": Edit("both", (Placement(ablate(direction.unit, rest)),)),
        "refusal": Edit.ablating(rest, f"without {OTHER}"),
        OTHER: Edit.ablating(direction.unit, "without refusal"),
    }
    test = lab.splits.test
    n = min(config.n_scored, len(test.positive), len(test.negative))
    others = Meter(lab, {SCORED: test.positive[:n] + test.negative[:n]}, name=OTHER)
    parts = []
    for name, which in (("refusal", meter), (OTHER, others)):
        values = {kind: gaps(which.scores(SCORED, edit))
                  for kind, edit in {"base": BASE, **edits}.items()}  # fmt: skip
        parts.append(pd.DataFrame({"behaviour": name, "row": range(len(values["base"])), **values}))
    return pd.concat(parts, ignore_index=True)


def shown(classes: Sequence[str]) -> Float[np.ndarray, " sample"]:
    """1 where an answer refuses."""
    return np.array([one in SHOWING for one in classes], np.float64)


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
