"""The method of 04_euclidean; protocol.py has the question and the criteria."""

from collections.abc import Mapping

from experiments.lab.estimate import Estimate, number
from experiments.lab.lab import Lab
from experiments.lab.results import Result
from experiments.lab.spacing import spaced

from . import measure
from .estimates import manifold_estimates, output_estimates, refusal_estimates
from .protocol import PLACES, RIVALS, Config
from .tables import tables


def run(config: Config, lab: Lab) -> Result:
    """Measure all three meanings."""
    samples = measure.measure_samples(config, lab)
    sites = spaced(measure.sites_of(lab), config.n_metric_sites, first=False)
    products, n = measure.inner_products(config, lab, sites), config.n_resamples
    kl, lengths = measure.measure_segments(config, lab, sites, products)
    refusal = measure.measure_refusal(config, lab, sites, products)
    found = (
        *manifold_estimates(samples),
        *output_estimates(kl, lengths, config.steps, n, lab.rng("output metric")),
        *refusal_estimates(refusal, n, lab.rng("behaviour metric")),
    )
    named = {estimate.name: estimate for estimate in found}
    return Result(found, tables(samples, refusal, named), observation(named))


def observation(e: Mapping[str, Estimate]) -> str:
    """One paragraph that quotes the numbers."""
    parts = [
        f"{place.replace('.', ' third, ').capitalize()}: triangle defect over flat controls "
        f"{e[f'excess.{place}']}, power {number(e[f'power.{place}'].value)} (without noise "
        f"{number(e[f'power_bare.{place}'].value)})."
        for place in PLACES
    ]
    for meaning, does in (("output", "orders output KL"), ("behaviour", "predicts refusal")):
        leads = [f"{name} leads by {e[f'{meaning}.lead.{name}']}" for name in RIVALS]
        parts.append(f"L2 {does} with Spearman {e[f'{meaning}.spearman.l2']}; {', '.join(leads)}.")
    parts.append(f"{e['output.converged']} converged; {e['behaviour.refused']} are refused.")
    return " ".join(parts)
