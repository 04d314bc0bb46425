"""What locks, keys and tunings do, as cells; of a prompt its hash is kept."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab import keys
from experiments.lab.domains import domain_directions, domain_sentences
from experiments.lab.lab import Lab
from experiments.lab.lessons import Lesson, after, millions
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.passages import Passages
from experiments.lab.probes import probe_scores
from experiments.lab.scale import Scale, mean_differences
from experiments.lab.selection import Selection, candidate_sites
from interp.directions import Direction
from interp.interventions import Placement, ablate
from interp.sites import Site
from interp.weights import adding, orthogonalised

from .protocol import BATCH, N_DOMAINS, N_KEYS, N_STEPS, N_TAUGHT, OTHER, RATE, Config

SCORED = "scored"  # as many prompts that show the behaviour, then that do not
SIDES = ("harmful", "harmless")
MORE = ((4, 20), (64, 20), (16, 100), (64, 500))  # examples and steps of lessons shown beside
SENTENCE_TOKENS = 32
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


def locking(direction: Direction) -> Edit:
    """The direction taken out of the weights."""
    return Edit.orthogonalising(direction.unit, "locked")


def gap_tables(meter: Meter, direction: Direction) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Gaps of refusal in nats: of the model and its lock, and under wrong keys.

    Columns: row, base, locked, vector (added to the locked model); kind, key, row, gap.
    """
    model, wrong = meter.lab.model, []
    along, found = keys.components(model, direction.unit), {"base": _gap(meter, BASE)}
    with orthogonalised(model, direction.unit[None]):
        found["locked"] = _gap(meter, Edit("locked"))
        found["vector"] = _gap(meter, Edit("locked with its vector", (direction.add(),)))
        plan = keys.wrong_keys(direction.unit, along, N_KEYS, meter.lab.rng("14.keys"))
        for kind, number, unit, others in meter.lab.progress(plan, "wrong keys", 2 * N_KEYS):
            with adding(model, unit, others):
                gap = _gap(meter, Edit(f"wrong/{kind}/{number}"))
            rows = {"kind": kind, "key": number, "row": range(len(gap)), "gap": gap}
            wrong.append(pd.DataFrame(rows))
    table = pd.DataFrame({"row": range(len(found["base"])), **found})
    return table, pd.concat(wrong, ignore_index=True)


def _gap(meter: Meter, edit: Edit) -> Scores:
    return gaps(meter.scores(SCORED, edit))


def lessons(config: Config, lab: Lab) -> list[Lesson]:
    """Tunings that decide, then others; none for a model that is too large."""
    if millions(lab.model) > config.max_tuned:
        return []
    deciding = [Lesson(N_TAUGHT, N_STEPS, i, BATCH, RATE) for i in range(config.n_tunings)]
    return deciding + [Lesson(*more, 0, BATCH, RATE) for more in MORE[: config.n_more]]


def answer_table(meter: Meter, plan: Sequence[Lesson], selection: Selection) -> pd.DataFrame:
    """Classes of answers to test prompts; columns: condition, side, prompt (id), answer, learnt.

    Harmless ones are asked only where a tuning is held against them. `learnt` is the mean
    probability of a refusal opening after the harmful prompts that a tuning taught.
    """
    locked, sides = locking(selection.direction), SIDES if plan else SIDES[:1]
    found: dict[str, Mapping[str, Any]] = {
        edit.name: {side: meter.answers(side, edit) for side in sides} for edit in (BASE, locked)
    }
    for lesson in meter.lab.progress(plan, "tunings"):
        found[str(lesson)] = after(meter, locked, lesson, selection.prompts, SIDES)
    return pd.concat(ignore_index=True, objs=[
        pd.DataFrame({"condition": condition, "side": side, "answer": one[side],
                      "prompt": [_id(text) for text in meter.prompts[side]],
                      "learnt": one.get("learnt", float("nan"))})
        for condition, one in found.items() for side in sides
    ])  # fmt: skip


def probe_table(meter: Meter, direction: Direction) -> pd.DataFrame:
    """How a probe at the direction's site tells harmful prompts; columns: model, harmful, score."""
    site, prompts = direction.site, [meter.prompts[side] for side in SIDES]
    assert site is not None  # selected directions have one
    edits = {"base": (), "locked": (direction.ablate(),)}
    label = np.repeat([1, 0], [len(part) for part in prompts])
    return pd.concat(ignore_index=True, objs=[
        pd.DataFrame({"model": name, "harmful": label,
                      "score": probe_scores(meter.lab, *prompts, site, placed)})
        for name, placed in edits.items()
    ])  # fmt: skip


def domain_table(config: Config, lab: Lab) -> pd.DataFrame:
    """Losses of test sentences, in nats per token.

    Columns: domain, row, base, own (its direction ablated), next (the next domain's).
    """
    train, test = domain_sentences(lab, config.n_sentences)
    found = domain_directions(lab, train, Site(lab.model.n_layers // 2, "pre"))
    names, parts = list(found)[:N_DOMAINS], []
    for i, name in lab.progress(list(enumerate(names)), "domains"):
        passages = Passages(lab.model, tuple(test[name]), SENTENCE_TOKENS)
        meter = Meter(lab, {}, passages, name=f"domain/{name}")
        which = {"own": name, "next": names[(i + 1) % len(names)]}
        losses = {kind: meter.text(Edit.ablating(found[one].unit, one))
                  for kind, one in which.items()}  # fmt: skip
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
    """Gaps of both behaviours in nats.

    Columns: behaviour, row, base, both (locked), refusal (opened by the key of refusal), OTHER.
    """
    lab = meter.lab.on(meter.lab.behaviour(OTHER))
    unit, found = direction.unit, other_direction(config, lab).unit
    rest = found - (found @ unit) * unit
    edits = {"base": BASE, "both": Edit("both", (Placement(ablate(unit, rest)),)),
             "refusal": Edit.ablating(rest, f"without {OTHER}"),
             OTHER: Edit.ablating(unit, "without refusal")}  # fmt: skip
    test, parts = lab.splits.test, []
    n = min(config.n_scored, len(test.positive), len(test.negative))
    others = Meter(lab, {SCORED: test.positive[:n] + test.negative[:n]}, name=OTHER)
    for name, which in (("refusal", meter), (OTHER, others)):
        values = {kind: _gap(which, edit) for kind, edit in edits.items()}
        parts.append(pd.DataFrame({"behaviour": name, "row": range(len(values["base"])), **values}))
    return pd.concat(parts, ignore_index=True)


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
