"""The method of 05_refusal_direction; protocol.py has the question and the criteria."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from experiments.lab.results import Result
from experiments.lab.rules import not_found
from experiments.lab.selection import (
    Selection,
    candidate_positions,
    candidate_sites,
    found_estimate,
    gate_estimates,
    select_direction,
)
from interp.data.near_duplicates import without_near_duplicates
from interp.data.prompt_sets import TextSet
from interp.errors import DataError, ExperimentError, ModelError
from interp.predict import readout
from interp.scores import classifier_accuracy, learn_refusal_tokens, log_odds, threshold_for
from interp.stats import bootstrap_mean
from interp.weights import residual_writers

from .doses import dose_rows, null_dose_rows
from .estimates import (
    answer_rates,
    damage_estimates,
    null_tables,
    openings_estimates,
    rate_estimates,
    rates_table,
    token_estimates,
)
from .measure import BASE, Bench, Edit, Source, adding, share
from .nulls import null_draws, re_extractions
from .protocol import COEFFICIENTS, MAX_INCOHERENT, NEAR_BEST, Config, absent

N_TOKEN_PROMPTS = 60  # train prompts per class that first tokens of refusals are learnt on


def run(config: Config, lab: Lab) -> Result:
    """Choose the direction, measure every edit on the test prompts, and judge."""
    selection = select_direction(
        lab,
        candidate_sites(lab, config.n_sites or None),
        candidate_positions(lab, config.n_positions or None),
        config.n_validation,
        config.n_train,
    )
    lab.save_direction("refusal", selection.direction)
    bench = prepare(config, lab)
    source, coefficients = with_coefficient(bench, selection)
    tokens, reading = refusal_tokens(bench, selection)
    prompts = pd.concat(measured(bench, source, tokens), ignore_index=True)
    draws = null_draws(
        bench, source, config.n_nulls, config.n_null_generated, config.n_null_answers
    )
    again = re_extractions(bench, source, config.n_reextractions)
    effects = bench.effects("true", source, source.direction)
    estimates = [
        *selection_estimates(selection, source),
        *rate_estimates(prompts, draws),
        *openings_estimates(prompts, effects, draws, again),
        *damage_estimates(bench, source, prompts, config.n_answer_kl),
        *token_estimates(prompts, reading),
        accuracy_estimate(lab.model.info.name),
    ]
    named = {estimate.name: estimate for estimate in estimates}
    tables = {
        "selection": selection_table(selection, named),
        "rates": rates_table(prompts, draws),
        "dose_response": dose_table(bench, source, draws, config),
        **null_tables(effects, draws),
        "answers": answer_rates(prompts),
        "prompts": prompts,
        "coefficients": coefficients,
        "reextractions": again,
    }
    return Result(tuple(estimates), tables, observation(named, selection))


def prepare(config: Config, lab: Lab) -> Bench:
    """Test prompts that are no near-duplicates of those the direction is chosen on, and text."""
    chosen_on = [
        prompt
        for part in (lab.splits.train, lab.splits.validation)
        for prompt in (*part.positive, *part.negative)
    ]
    harmful = drawn(lab, lab.harmful_test, chosen_on, config.n_harmful, "harmful")
    harmless = drawn(lab, lab.harmless_test, chosen_on, config.n_harmless, "harmless")
    contrast = tuple(p for p in lab.splits.test.positive if p not in lab.harmful_test.texts)
    prompts = {"harmful": harmful, "contrast": contrast[: config.n_contrast], "harmless": harmless}
    order = lab.rng("05.text").permutation(len(lab.text))[: config.n_text]
    texts = tuple(lab.text[i] for i in order)
    n_null = min(config.n_null_prompts, len(harmful), len(harmless))
    passages = Passages(lab.model, texts, config.text_tokens)
    return Bench(lab, prompts, n_null, config.answer_tokens, passages)


def drawn(
    lab: Lab, texts: TextSet, chosen_on: Sequence[str], n: int, purpose: str
) -> tuple[str, ...]:
    """`n` of the texts, or all where there are fewer, drawn with the seed."""
    unseen = without_near_duplicates(texts, chosen_on).texts
    if len(unseen) < 2:
        raise ExperimentError(
            f"Of {len(texts)} {purpose} test prompts {len(unseen)} differ from the prompts the "
            "direction is chosen on; at least 2 are needed. Give more varied prompts."
        )
    order = lab.rng(f"05.{purpose}").permutation(len(unseen))[:n]
    return tuple(unseen[i] for i in order)


def with_coefficient(bench: Bench, selection: Selection) -> tuple[Source, pd.DataFrame]:
    """The direction with the activations its nulls come from and its coefficient."""
    direction, prompts = selection.direction, selection.prompts
    if direction.site is None:
        raise ExperimentError("The selected direction has no site.")
    rows = []
    for coefficient in COEFFICIENTS:
        edit = adding(coefficient * direction.vector, direction.site)
        classes = bench.classes(f"validation/{coefficient:g}", prompts.validation[1], edit)
        rows.append(
            {
                "coefficient": coefficient,
                "refused": share(classes, "refused"),
                "incoherent": share(classes, "incoherent"),
                "n": len(classes),
            }
        )
    table = pd.DataFrame(rows)
    coefficient = choose_coefficient(table)
    return Source(direction, selection.positive, selection.negative, coefficient), table


def choose_coefficient(table: pd.DataFrame) -> float:
    """The coefficient that CRITERION's rule takes from refusal rates on validation prompts."""
    coherent = table[table.incoherent <= MAX_INCOHERENT]
    if not len(coherent):
        return float(table.coefficient.min())
    near_best = coherent[coherent.refused >= coherent.refused.max() - NEAR_BEST]
    return float(near_best.coefficient.min())


def measured(bench: Bench, source: Source, tokens: Sequence[int]) -> Iterator[pd.DataFrame]:
    """Answers and scores of every test prompt under every edit, one table per set and edit."""
    ablated = bench.removing(source.direction.unit)
    added = adding(source.coefficient * source.direction.vector, source.site)
    plan: list[tuple[str, Edit]] = [(name, BASE) for name, p in bench.prompts.items() if p]
    plan += [(name, ablated) for name, p in bench.prompts.items() if p]
    plan += [("harmless", added)]
    if can_orthogonalise(bench.lab):
        plan += [("harmful", bench.orthogonalising(source.direction.unit))]
    for name, edit in bench.lab.progress(plan, "answering test prompts", len(plan)):
        # Ablated answers to harmless prompts say nothing about refusal: the scores are enough.
        yield bench.table(name, edit, tokens, answered=(name, edit.name) != ("harmless", "ablated"))


def can_orthogonalise(lab: Lab) -> bool:
    """Whether the model's weights can be orthogonalised; Gemma 2 and 3 are refused by name."""
    try:
        residual_writers(lab.model)
    except ModelError:
        return False
    return True


def refusal_tokens(bench: Bench, selection: Selection) -> tuple[list[int], dict[str, float]]:
    """First tokens of refusals, learnt on train prompts; threshold set on validation prompts.

    Both lists are empty where too few answers are refused, or refusals show in no first token.
    """
    lab, prompts = bench.lab, selection.prompts
    if not prompts.filtered:
        return [], {}
    train = [
        [texts[i] for i in rows[:N_TOKEN_PROMPTS]]
        for texts, rows in zip(prompts.train, prompts.train_rows, strict=True)
    ]
    found = lab.cell("refusal_tokens", lambda: _learnt(lab, train))
    if not found:
        return [], {}
    read = lab.cell("refusal_threshold", lambda: _threshold(lab, found, prompts.validation))
    return found, {"threshold": read}


def _learnt(lab: Lab, train: Sequence[Sequence[str]]) -> list[int]:
    log_probs = readout(lab.model, lab.tokens([*train[0], *train[1]])).log_probs
    refused = torch.arange(len(log_probs)) < len(train[0])
    try:
        return learn_refusal_tokens(log_probs, refused)
    except DataError:
        return []


def _threshold(lab: Lab, tokens: Sequence[int], validation: Sequence[Sequence[str]]) -> float:
    odds = [log_odds(readout(lab.model, lab.tokens(p)).log_probs, tokens) for p in validation]
    labels = torch.arange(sum(map(len, odds))) < len(odds[0])
    return threshold_for(torch.cat(odds).numpy(), labels.numpy())


def selection_estimates(selection: Selection, source: Source) -> list[Estimate]:
    """What was chosen, and how many train prompts its classes are made of.

    These are choices and counts, without interval or null.
    """
    chosen = selection.chosen
    n = len(selection.prompts.validation[0])
    return [
        *gate_estimates(selection.prompts),
        Estimate("coefficient", source.coefficient, n=n),
        Estimate("selection.depth", float(chosen.depth), n=n, unit="blocks"),
        Estimate("selection.position", float(chosen.position), n=n, unit="tokens from the end"),
        Estimate("selection.bypass", float(chosen.bypass), n=n, unit="nats"),
        Estimate("selection.bypass.base", selection.base_bypass, n=n, unit="nats"),
        Estimate("selection.induce", float(chosen.induce), n=n, unit="nats"),
        Estimate("selection.induce.base", selection.base_induce, n=n, unit="nats"),
        Estimate("selection.kl", float(chosen.kl), n=n, unit="nats"),
        Estimate("selection.passed", float(selection.passed), n=len(selection.candidates)),
        found_estimate(selection),
    ]


def accuracy_estimate(name: str) -> Estimate:
    """Accuracy of the refusal classifier on this model's labelled answers; NaN without labels."""
    try:
        found = classifier_accuracy(name)
    except DataError:
        return Estimate("classifier.accuracy", float("nan"))
    return Estimate(
        "classifier.accuracy", found["value"], found["low"], found["high"], n=int(found["n"])
    )


def selection_table(selection: Selection, estimates: Mapping[str, Estimate]) -> pd.DataFrame:
    """Every candidate with its status, and what random directions would do to the bypass score."""
    effect = estimates["effect.ablation"]
    first_failed = [text.split("; ")[0] or "passes" for text in selection.candidates.failed]
    table = selection.candidates.assign(status=first_failed, base_bypass=selection.base_bypass)
    table.loc[table.selected, "status"] = "chosen"
    table["null_low"] = selection.base_bypass - (effect.null_high or 0.0)
    table["null_high"] = selection.base_bypass - (effect.null_low or 0.0)
    return table.assign(failed=[text or "none" for text in table.failed])


def dose_table(bench: Bench, source: Source, draws: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Effect against damage on text for both edits, with random directions as null rows."""
    rows = []
    for row in dose_rows(bench, source, config.doses, config.factors):
        interval = bootstrap_mean(np.asarray(row.pop("values")), seed=bench.lab.seed)
        rows.append({**row, "effect": interval.value, "low": interval.low, "high": interval.high})
    real = pd.DataFrame(rows).assign(null=False, n=bench.null_prompts)
    null = pd.DataFrame(null_dose_rows(bench, source, draws, config.n_dose_nulls))
    return pd.concat([real, null.assign(null=True, n=bench.null_prompts)], ignore_index=True)


def observation(estimates: Mapping[str, Estimate], selection: Selection) -> str:
    """One paragraph that quotes the numbers."""
    e = estimates
    site, position = selection.direction.site, selection.direction.position
    refused = f"{number(e['train.refused'].value)} of {e['train.refused'].n}"
    opening = f"Direction from {site}, position {position}. "
    if absent(estimates):
        opening = f"Behaviour absent: {refused} harmful train prompts are refused. {opening}"
    elif not_found(e):
        opening = (
            f"No direction found: the best of {len(selection.candidates)} candidates, from {site}, "
            f"does not beat random directions (p = {number(selection.p)}). "
        )
    elif not selection.passed:
        opening += f"No candidate met every constraint; this one: {selection.chosen.failed}. "
    return (
        f"{opening}Refusal on {e['refusal_rate.harmful.base'].n} harmful prompts: "
        f"{e['refusal_rate.harmful.base']}, ablated {e['refusal_rate.harmful.ablated']} (KL on "
        f"harmless {e['kl.harmless.ablated']}). On {e['refusal_rate.harmless.base'].n} harmless "
        f"tasks: {e['refusal_rate.harmless.base']}, with {number(e['coefficient'].value)} times "
        f"the difference added {e['refusal_rate.harmless.added']} (KL {e['kl.harmless.added']}). "
        f"On the openings score ablation does {e['effect.ablation']}, the strongest isotropic or "
        f"covariance-matched random direction {e['effect.ablation.largest_null']}; addition "
        f"{e['effect.addition']}, against {e['effect.addition.largest_null']}. Classifier accuracy "
        f"{e['classifier.accuracy']}."
    )
