"""The method of 04_euclidean; protocol.py has the question and the criteria."""

from collections.abc import Mapping

import pandas as pd

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result

from . import measure
from .estimates import curvature_estimates, output_estimates, refusal_estimates
from .protocol import RADII, RIVALS, Config
from .tables import excess_rows, metric_rows, score_columns, segment_columns


def run(config: Config, lab: Lab) -> Result:
    """Measure all three meanings."""
    sites, n = measure.sites_of(lab), config.n_resamples
    samples = measure.measure_samples(config, lab, sites)
    products = measure.inner_products(config, lab, sites)
    segments = measure.measure_segments(config, lab, sites, products)
    refusal = measure.measure_refusal(config, lab, sites, products)
    found = (
        *curvature_estimates(samples),
        *output_estimates(segments, n, lab.rng("output metric")),
        *refusal_estimates(refusal, n, lab.rng("behaviour metric")),
    )
    named = {estimate.name: estimate for estimate in found}
    tables = {
        "excess": excess_rows(samples, named),
        "metrics": metric_rows(named),
        "segments": segment_columns(segments, sites),
        "scores": score_columns(refusal, sites),
    }
    shown = {name: pd.DataFrame(table) for name, table in tables.items()}
    return Result(found, shown, observation(named))


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    power = [f"of a planted {shape} {number(e[f'power.{shape}'].value)}" for shape in RADII]
    parts = [f"Triangle defect beyond flat controls {e['curvature']}, power {', '.join(power)}."]
    for meaning, does in (("output", "orders output KL"), ("behaviour", "predicts refusal")):
        leads = [f"{name} leads by {e[f'{meaning}.lead.{name}']}" for name in RIVALS]
        parts.append(f"L2 {does} with Spearman {e[f'{meaning}.spearman.l2']}; {', '.join(leads)}.")
    parts.append(f"{e['output.converged']} converged; {e['behaviour.refused']} are refused.")
    return " ".join(parts)
