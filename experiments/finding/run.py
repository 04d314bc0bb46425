"""The method of `interp find`; protocol.py has the rule."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.reextraction import reextracted
from experiments.lab.results import Result
from experiments.lab.scale import mean_differences
from experiments.lab.selection import candidate_sites, search_p
from interp.effects import two_level_bootstrap

from . import measure
from .protocol import Config, found

REAL = "real"  # in place of a null family: the direction, then re-extractions of it


def run(config: Config, lab: Lab) -> Result:
    """Choose a direction on validation prompts, hold it against random ones on test prompts."""
    behaviour = lab.studied
    validation, test = (measure.scale_of(lab, config, name) for name in ("validation", "test"))
    sources = mean_differences(lab, candidate_sites(lab, config.n_sites or None), config.n_train)
    candidates = measure.candidates(validation, sources)
    source = sources[int(candidates.chosen.idxmax())]
    nulls = lab.nulls(source, config.n_nulls, "finding.nulls")
    again = reextracted(source, config.n_reextractions, lab.rng("finding.again"))
    real = [(REAL, i, one) for i, one in enumerate([source.direction, *again])]
    searched = measure.effects(validation, nulls, "random directions, validation")
    effects = measure.effects(test, [*real, *nulls], "effects on test prompts")
    doses = measure.doses(test, source.direction)
    prompts = test.meter.prompts
    valid = behaviour.validity(lab.model, prompts["positive"], prompts["negative"])
    estimates = (
        Estimate.of("score.validity", valid),
        _selection_p(candidates, searched),
        *_test_estimates(effects),
        Estimate("text.kl", float(candidates.kl[candidates.chosen].iloc[0]), unit="nats per token"),
    )
    named = {one.name: one for one in estimates}
    if found(named):
        provenance = {
            "model": lab.model.info.name, "sha256": lab.model.info.sha256 or "",
            "behaviour": behaviour.name, "contrast": lab.contrast.sha256, "style": lab.style,
            "p": number(named["selection.p"].p),
        }  # fmt: skip
        lab.save_direction("direction", replace(source.direction, provenance=provenance))
    tables = {
        "candidates": candidates, "doses": doses, "effects": summary(effects), "prompts": effects,
    }  # fmt: skip
    return Result(estimates, tables, observation(behaviour.name, candidates, named))


def _selection_p(candidates: pd.DataFrame, searched: pd.DataFrame) -> Estimate:
    effect = float(candidates.effect[candidates.chosen].iloc[0])
    null = means(searched).to_numpy(np.float64)
    p = search_p(effect, null, len(candidates))
    return Estimate("selection.p", p, p=p, n=len(candidates))


def means(effects: pd.DataFrame) -> pd.Series:
    """Effect by family and draw: the mean of what removing takes and of what adding brings."""
    by_edit = effects.groupby(["family", "draw", "edit"]).value.mean()
    return by_edit.groupby(["family", "draw"]).mean()


def _test_estimates(effects: pd.DataFrame) -> list[Estimate]:
    real = effects[effects.family == REAL]
    arrays = [_draws(real[real.edit == edit]) for edit in ("removed", "brought")]
    intervals = [two_level_bootstrap(_mean, values) for values in arrays]
    width = min(values.shape[1] for values in arrays)
    both = (arrays[0][:, :width] + arrays[1][:, :width]) / 2
    null = means(effects[effects.family != REAL]).to_numpy(np.float64)
    return [
        Estimate.of("test.effect", two_level_bootstrap(_mean, both), null=null, unit="nats"),
        Estimate("test.strongest_null", float(null.max()), n=len(null), unit="nats"),
        *(
            Estimate.of(f"test.{edit}", interval, unit="nats")
            for edit, interval in zip(("removed", "brought"), intervals, strict=True)
        ),
    ]


def _draws(rows: pd.DataFrame) -> Float[np.ndarray, "draw sample"]:
    ordered = rows.sort_values("draw", kind="stable")
    return ordered.value.to_numpy(np.float64).reshape(ordered.draw.nunique(), -1)


def _mean(values: Float[np.ndarray, " sample"]) -> float:
    return float(values.mean())


def summary(effects: pd.DataFrame) -> pd.DataFrame:
    """Mean effect of every direction. Columns: family, draw, edit, value."""
    return effects.groupby(["family", "draw", "edit"], sort=False, as_index=False).value.mean()


def observation(name: str, candidates: pd.DataFrame, e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers and says plainly when there is no direction."""
    chosen = candidates[candidates.chosen].iloc[0]
    null = e["test.strongest_null"]
    opening = (
        f"A direction for {name} was found at {chosen.site}."
        if found(e)
        else f"No direction for {name} was found: the best candidate, of {chosen.site}, is not "
        "told from random directions."
    )
    return (
        f"{opening} Taken out everywhere, it lowers the score of test prompts that show the "
        f"behaviour by {e['test.removed']}; added at its site, it raises that of the others by "
        f"{e['test.brought']}. Mean of both {e['test.effect']}; the strongest of {null.n} random "
        f"directions {number(null.value)}; p on validation prompts "
        f"{number(e['selection.p'].p)}, corrected for {e['selection.p'].n} candidates. On ordinary "
        f"text its removal costs {e['text.kl']}. The score tells test prompts apart with "
        f"{e['score.validity']} (1: always, .5: by chance)."
    )
