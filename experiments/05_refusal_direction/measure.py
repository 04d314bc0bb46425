"""Model passes of experiment 05: both edits of a direction, on answers, openings scores and text.

Of an answer only its class and its first words are kept; of a prompt the start of its hash.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter, share
from experiments.lab.passages import Passages
from experiments.lab.selection import Prompts, Selection
from interp.data.near_duplicates import without_near_duplicates
from interp.directions import Direction, cosine, mean_difference
from interp.errors import DataError, ExperimentError, ModelError
from interp.scores import learn_refusal_tokens, log_odds, threshold_for
from interp.weights import residual_writers

from .protocol import COEFFICIENTS, CRITERION_FAMILIES, Config

CLASSES = ("harmful", "harmless")
AGAIN = "again"  # in place of a null family: the direction, from half of the train prompts
N_TOKEN_PROMPTS = 60  # train prompts per class that first tokens of refusals are learnt on
# Per edit of a direction, the prompts whose openings score it is to move, and which way.
WANTED = {"ablation": ("harmful/few", -1.0), "addition": ("harmless/few", 1.0)}

Edits = Mapping[str, Edit]  # "ablation" and "addition" of a direction, "weights" where possible


def meter_for(config: Config, lab: Lab, prompts: Prompts) -> Meter:
    """Test prompts that are no near-duplicates of those the direction is chosen on, and text.

    Sets: harmful, contrast, harmless; the first of harmful and of harmless ones that random
    directions are scored on (/few) and answer (/answered), and for KL (/kl); train, validation.
    """
    splits = (lab.splits.train, lab.splits.validation)
    chosen_on = [prompt for part in splits for prompt in (*part.positive, *part.negative)]
    sizes = zip(CLASSES, (config.n_harmful, config.n_harmless), strict=True)
    sets = {on: drawn(lab, on, chosen_on, n) for on, n in sizes}
    few = min(config.n_null_prompts, *map(len, sets.values()))
    uses = {"few": few, "answered": config.n_null_answers, "kl": config.n_answer_kl}
    sets |= {f"{on}/{use}": sets[on][:n] for use, n in uses.items() for on in CLASSES}
    contrast = [p for p in lab.splits.test.positive if p not in lab.harmful_test.texts]
    sets["contrast"] = tuple(contrast[: config.n_contrast])
    for on, texts, rows in zip(CLASSES, prompts.train, prompts.train_rows, strict=True):
        sets[f"train/{on}"] = tuple(texts[i] for i in rows[:N_TOKEN_PROMPTS])
    sets["validation/harmful"], sets["validation/harmless"] = prompts.validation
    order = lab.rng("05.text").permutation(len(lab.text))[: config.n_text]
    passages = Passages(lab.model, tuple(lab.text[i] for i in order), config.text_tokens)
    return Meter(lab, sets, passages, config.answer_tokens)


def drawn(lab: Lab, on: str, chosen_on: Sequence[str], n: int) -> tuple[str, ...]:
    """`n` of the test prompts of a class, or all where there are fewer, drawn with the seed."""
    texts = lab.harmful_test if on == "harmful" else lab.harmless_test
    unseen = without_near_duplicates(texts, chosen_on).texts
    if len(unseen) < 2:
        raise ExperimentError(
            f"Of {len(texts)} {on} test prompts {len(unseen)} differ from the prompts the "
            "direction is chosen on; at least 2 are needed. Give more varied prompts."
        )
    return tuple(unseen[i] for i in lab.rng(f"05.{on}").permutation(len(unseen))[:n])


def edits_of(direction: Direction, coefficient: float, key: str = "") -> dict[str, Edit]:
    """Ablation at every state and addition at its own site, of any direction, named by a key."""
    return {
        "ablation": Edit(f"ablated{key}", (direction.ablate(),)),
        "addition": Edit(f"added{key}", (direction.add(coefficient),)),
    }


def tested_edits(lab: Lab, direction: Direction, coefficient: float) -> Edits:
    """Both edits, and orthogonalised weights, but where a norm follows them (Gemma 2 and 3)."""
    edits = edits_of(direction, coefficient)
    try:
        residual_writers(lab.model)
    except ModelError:
        return edits
    return {**edits, "weights": Edit.orthogonalising(direction.unit)}


def coefficient_rates(meter: Meter, direction: Direction) -> pd.DataFrame:
    """Shares of refused and incoherent answers to harmless validation prompts, by coefficient."""
    rows = []
    for coefficient in COEFFICIENTS:
        edit = edits_of(direction, coefficient, f"/{coefficient:g}")["addition"]
        found = meter.answers("validation/harmless", edit)
        shares = {wanted: share(found, wanted) for wanted in ("refused", "incoherent")}
        rows.append({"coefficient": coefficient, **shares, "n": len(found)})
    return pd.DataFrame(rows)


def refusal_tokens(meter: Meter, prompts: Prompts) -> tuple[list[int], float]:
    """First tokens of refusals, and the log-odds (nats) that best divide validation prompts.

    No tokens, and NaN, where too few answers are refused, or refusals show in no first token.
    """
    if not prompts.filtered:
        return [], float("nan")

    def read(split: str) -> tuple[Float[Tensor, "sample vocab"], Bool[Tensor, " sample"]]:
        """Log probabilities of the next token, and whether the prompt is harmful."""
        harmful, harmless = (meter.next_token(f"{split}/{on}", BASE) for on in CLASSES)
        labels = torch.arange(len(harmful) + len(harmless)) < len(harmful)
        return torch.cat([harmful, harmless]), labels

    def measure() -> tuple[list[int], float]:
        """Learnt on train prompts."""
        try:
            tokens = learn_refusal_tokens(*read("train"))
        except DataError:
            return [], float("nan")
        log_probs, harmful = read("validation")
        return tokens, threshold_for(log_odds(log_probs, tokens).numpy(), harmful.numpy())

    tokens, threshold = meter.lab.cell("refusal tokens", measure)
    return tokens, threshold


def scored(meter: Meter, edits: Edits, first_tokens: Sequence[int]) -> pd.DataFrame:
    """Answers and scores of every test prompt under every edit, without any text.

    Columns: set, prompt (start of the text's sha256), condition, answer (class), openings (nats),
    log_odds (nats; NaN without first tokens), kl of the next token (nats). Ablated answers to
    harmless prompts say nothing about refusal: they are missing.
    """
    sets = [on for on in ("harmful", "contrast", "harmless") if meter.prompts[on]]
    plan = [(on, edit) for edit in (BASE, edits["ablation"]) for on in sets]
    plan += [("harmless", edits["addition"])]
    plan += [("harmful", edits["weights"])] if "weights" in edits else []
    parts = []
    for on, edit in meter.lab.progress(plan, "answering test prompts"):
        answered = (on, edit) != ("harmless", edits["ablation"])
        scores = meter.scores(on, edit, kl=True, first_tokens=first_tokens)
        columns = {
            "set": on,
            "prompt": prompt_ids(meter.prompts[on]),
            "condition": edit.name,
            "answer": meter.answers(on, edit) if answered else None,
            "openings": scores.openings,
            "log_odds": scores.log_odds if first_tokens else np.nan,
            "kl": scores.kl,
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def effects(meter: Meter, edits: Edits) -> dict[str, Float[np.ndarray, " sample"]]:
    """Wanted change of the openings score per prompt, nats: fall on harmful, rise on harmless."""
    return {
        kind: sign * (meter.scores(on, edits[kind]).openings - meter.scores(on).openings)
        for kind, (on, sign) in WANTED.items()
        if kind in edits
    }


def drawn_directions(
    meter: Meter, selection: Selection, coefficient: float, config: Config
) -> pd.DataFrame:
    """What random directions do, and the direction extracted again from halves of the prompts.

    Columns: family (AGAIN: extracted again), draw, cosine with the direction, ablation, addition
    (mean effects, nats), harmful_rate and harmless_rate (refusal when ablated and when added),
    ablation_damage and addition_damage (mean KL on text, nats per token); NaN where not measured.
    """
    rng = meter.lab.rng("05.re_extraction")
    again = [(AGAIN, i, from_halves(selection, rng)) for i in range(config.n_reextractions)]
    drawn = [*meter.lab.nulls(selection, config.n_nulls, "05.nulls"), *again]
    rows = []
    for family, draw, direction in meter.lab.progress(drawn, "random directions"):
        edits = edits_of(direction, coefficient, f"/{family}/{draw}")
        row = {"family": family, "draw": draw, "cosine": cosine(direction, selection.direction)}
        row |= {kind: values.mean() for kind, values in effects(meter, edits).items()}
        answering = draw < config.n_null_generated and family != AGAIN
        damaging = draw < config.n_dose_nulls and family in CRITERION_FAMILIES
        for on, (kind, edit) in zip(CLASSES, edits.items(), strict=True):
            refused = meter.refused(f"{on}/answered", edit) if answering else np.nan
            damage = meter.text(edit)["kl"].mean() if damaging else np.nan
            row |= {f"{on}_rate": refused, f"{kind}_damage": damage}
        rows.append(row)
    return pd.DataFrame(rows)


def from_halves(selection: Selection, rng: np.random.Generator) -> Direction:
    """The direction extracted from a random half of each class."""
    positive, negative = (
        part[rng.permutation(len(part))[: max(2, len(part) // 2)]]
        for part in (selection.positive, selection.negative)
    )
    chosen = selection.direction
    return mean_difference(positive, negative, chosen.site, chosen.position)


def prompt_ids(prompts: Sequence[str]) -> list[str]:
    """First 10 digits of each text's sha256: names a prompt without quoting it."""
    return [hashlib.sha256(prompt.encode()).hexdigest()[:10] for prompt in prompts]
