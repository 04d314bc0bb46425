"""The method of 04_euclidean; protocol.py has the question and the criteria."""

from collections.abc import Mapping

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.spacing import spaced

from .estimates import manifold_estimates, output_estimates, refusal_estimates
from .measure import (
    inner_products,
    measure_refusal,
    measure_samples,
    measure_segments,
    thirds_of,
)
from .protocol import PLACES, RIVALS, Config
from .tables import tables


def run(config: Config, lab: Lab) -> Result:
    """Measure all three meanings."""
    samples = measure_samples(config, lab)
    sites = spaced([site for _, site in thirds_of(lab, None)], config.n_metric_sites, first=False)
    products = inner_products(config, lab, sites)
    segments = measure_segments(config, lab, sites, products)
    refusal = measure_refusal(config, lab, sites, products)
    found = (
        *manifold_estimates(samples),
        *output_estimates(segments, config.n_resamples, lab.rng("output metric")),
        *refusal_estimates(refusal, config.n_resamples, lab.rng("behaviour metric")),
    )
    named = {estimate.name: estimate for estimate in found}
    return Result(found, tables(samples, sites, segments, refusal, named), observation(named))


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    parts = [
        f"In the {place.replace('.', ' third, ')} prompts, the triangle defect exceeds that of flat "
        f"controls by {e[f'excess.{place}']} (power {number(e[f'power.{place}'].value)}, without "
        f"noise {number(e[f'power_bare.{place}'].value)})."
        for place in PLACES
    ]
    for meaning, does in (("output", "orders output KL"), ("behaviour", "predicts refusal")):
        leads = [f"{name} leads by {e[f'{meaning}.lead.{name}']}" for name in RIVALS]
        parts.append(f"L2 {does} with Spearman {e[f'{meaning}.spearman.l2']}; {', '.join(leads)}.")
    parts.append(
        f"Of the steps {number(e['output.converged'].value)} have converged; "
        f"{e['behaviour.refused'].value:g} harmful test prompts are refused."
    )
    return " ".join(parts)
