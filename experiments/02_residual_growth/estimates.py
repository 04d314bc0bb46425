"""From the stream of experiment 02 to estimates and tables."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from interp import stats

from .laws import n_fitted, predicted, scores
from .measure import (
    Basis,
    Stream,
    explained,
    growth_signs,
    private_bases,
    rotated,
    shared_basis,
    spread,
    states_without,
    variance,
    weight_bases,
)
from .protocol import GROWING, LAWS, RANK, Config

Form = Callable[[np.ndarray], np.ndarray]


@dataclass
class Found:
    """Estimates and rows of the tables, as they are measured."""

    config: Config
    lab: Lab
    stream: Stream
    estimates: list[Estimate] = field(default_factory=list)
    tables: dict[str, list[pd.DataFrame]] = field(default_factory=dict)

    def add(self, name: str, draws: ArrayLike, n: int | None = None, **options: Any) -> None:
        """An estimate with the percentile interval of draws, of which the first is as measured."""
        value, *drawn = np.asarray(draws)
        n = n or len(self.stream.prompts)
        interval = stats.Interval(value, *stats.null_interval(np.array(drawn)), n)
        self.estimates.append(Estimate.of(name, interval, **options))

    def absent(self, *names: str) -> None:
        """What this model cannot be asked."""
        self.estimates += [Estimate(name, float("nan")) for name in names]

    def show(self, table: str, **columns: object) -> None:
        """Rows of a table."""
        rows = pd.DataFrame({"n": len(self.stream.prompts), **columns})
        self.tables.setdefault(table, []).append(rows)

    def weights(self, n: int, purpose: str = "bootstrap") -> np.ndarray:
        """Bootstrap weights of n items, rows that sum to 1; the first row is even."""
        rng = self.lab.rng(purpose)
        drawn = rng.multinomial(n, np.full(n, 1 / n), self.config.n_resamples)
        return np.concatenate([np.full((1, n), 1.0), drawn]) / n


def as_they_are(states: np.ndarray) -> np.ndarray:
    """All dimensions, about the mean."""
    return states


def mirrored(states: np.ndarray) -> np.ndarray:
    """The states and their negatives, whose covariance has the mean in it."""
    return np.concatenate([states, -states])


def all_estimates(config: Config, lab: Lab, stream: Stream) -> Found:
    """Every claim's numbers."""
    found = Found(config, lab, stream)
    for of_claim in (growth, start_and_steps, shared, weights, taken):
        of_claim(found)
    return found


def growth(found: Found) -> None:
    """02a: which law extrapolates variance and norm."""
    states = found.stream.states[:, 1:]
    drawn, n_blocks = found.weights(len(states)), states.shape[1]
    at = {"depth": np.arange(1, n_blocks + 1), "fitted": n_fitted(n_blocks)}
    curves = variance(states, drawn), drawn @ np.linalg.norm(states, axis=-1)
    for name, of in zip(GROWING, curves, strict=True):
        scored = scores(list(found.lab.progress(of, f"laws of the {name}")))
        for what in ("better", "error", "rate"):
            found.add(f"{name}.{what}", scored[what], unit="per block" if what == "rate" else "")
        for law in LAWS:
            found.add(f"{name}.error.{law}", scored[law])
            values = np.exp(predicted(law, of[0]))
            found.show("growth", panel=name, group=law, **at, value=values)
        found.show("growth", panel=name, group="measured", **at, value=of[0], **interval(of))


def start_and_steps(found: Found) -> None:
    """02b, 02c: the norm at the start over that at the end, and the length of every update."""
    stream = found.stream
    drawn = found.weights(len(stream.states))
    for form, of in {"": as_they_are, ".without_largest": stream.without_largest}.items():
        ends = drawn @ np.linalg.norm(of(stream.ends), axis=-1).mean(-1)
        found.add(f"start.norm{form}", ends[:, 0] / ends[:, 1])
        steps = drawn @ np.linalg.norm(np.diff(of(stream.states), axis=1), axis=-1)
        suffix = "" if form else ".all"
        for name, (low, high) in {"quartiles": (25, 75), "deciles": (10, 90)}.items():
            lower, upper = np.percentile(steps, [low, high], axis=1)
            found.add(f"steps.{name}{suffix}", upper / lower)
        group, layers = form[1:] or "all", range(steps.shape[1])
        found.show("steps", group=group, depth=layers, value=steps[0], **interval(steps))


def shared(found: Found) -> None:
    """02d: what the subspace of even layers and one half explains of odd layers and the other.

    Shown as well: without the largest dimensions, and of the growth of the mean squared norm.
    """
    stream, config, rng = found.stream, found.config, found.lab.rng("halvings")
    states, half = stream.states, len(stream.states) // 2
    odd = growth_signs(states.shape[1] - 1, range(1, states.shape[1] - 1, 2))

    def halved(of: np.ndarray, form: Form = as_they_are) -> tuple[float, float]:
        """The share on the other half: whole, and on a bootstrap draw of it."""
        order = rng.permutation(len(of))
        fit, test = of[order[:half]], of[order[half:]]
        again = test[rng.integers(len(test), size=len(test))]
        basis = shared_basis(form(fit))
        return explained(form(test), odd, basis), explained(form(again), odd, basis)

    turned = found.lab.progress(range(config.n_rotations), "rotations")
    null = np.array([halved(rotated(states, rng))[0] for _ in turned])
    forms = {"": as_they_are, ".without_largest": stream.without_largest, ".with_mean": mirrored}
    for name, form in forms.items():
        halvings = found.lab.progress(range(config.n_halvings), "halves")
        draws = np.array([halved(states, form) for _ in halvings])
        limits = None if name else null
        found.add(f"shared.growth{name}", [draws[:, 0].mean(), *draws[:, 1]], null=limits)
    sizes = variance(states, found.weights(len(states)))
    found.add("growth.odd", sizes @ odd / sizes[:, -1])
    layers_shown(found, rng)


def layers_shown(found: Found, rng: np.random.Generator) -> None:
    """Share of every layer's own update, over prompts, that lies in the shared subspace."""
    fit, test = found.stream.halves

    def shares(fit: np.ndarray, test: np.ndarray) -> np.ndarray:
        updates = np.diff(test, axis=1)
        return spread(updates @ shared_basis(fit).T) / spread(updates)

    turned = (rotated(found.stream.states, rng) for _ in range(found.config.n_rotations))
    null = np.array([shares(both[: len(fit)], both[len(fit) :]) for both in turned])
    value = shares(fit, test)
    layer = np.arange(len(value))
    limits = stats.interval_columns(np.where(layer % 2, null, np.nan), "null_")
    parity = np.where(layer % 2, "odd", "even")
    found.show("shared", group=parity, depth=layer, value=value, **limits)


def weights(found: Found) -> None:
    """02e: overlap of the writers' subspaces, over chance, without mean and outlier dimensions."""
    stream = found.stream
    d_model = stream.states.shape[-1]
    aside = np.linalg.qr(np.vstack([np.eye(d_model)[stream.largest], stream.mean]).T)[0].T
    chance = RANK / (d_model - len(aside))
    with_growth = shared_basis(stream.states - stream.states @ aside.T @ aside)
    bases = weight_bases(found.lab, aside)
    for part, layers in bases.items():
        pairs = np.array([[overlap(u, v) / chance for v in layers] for u in layers])
        np.fill_diagonal(pairs, np.nan)
        drawn = found.weights(len(pairs), "layers")
        drawn = drawn[(drawn > 0).sum(1) > 1]  # one layer alone makes no pair
        between = drawn[:, :, None] * drawn[:, None] * ~np.eye(len(pairs), dtype=bool)
        of_draws = (between * np.nan_to_num(pairs)).sum((1, 2)) / between.sum((1, 2))
        found.add(f"weights.{part}", of_draws, n=len(pairs), unit="times chance")
        row, column = np.indices(pairs.shape).reshape(2, -1)
        found.show("overlap", panel=part, row=row, column=column, value=pairs.ravel())
    if bases:
        across = [[overlap(u, with_growth) / chance for u in layers] for layers in bases.values()]
        of_draws = found.weights(len(across[0]), "layers") @ np.mean(across, axis=0)
        found.add("weights.activations", of_draws, n=len(across[0]), unit="times chance")
    else:
        found.absent("weights.attention", "weights.mlp", "weights.activations")


def overlap(one: Basis, other: Basis) -> float:
    """Mean squared cosine of the principal angles, |U'V|^2 / k: 1 for one subspace."""
    return float(((one @ other.T) ** 2).sum() / len(one))


def taken(found: Found) -> None:
    """02f: the growth that is gone when a subspace is projected out of every write."""
    stream, lab = found.stream, found.lab
    fit, test = stream.halves
    basis = shared_basis(fit)
    drawn, prompts = found.weights(len(test)), stream.prompts[len(fit) :]

    def grown(states: np.ndarray) -> np.ndarray:
        sizes = variance(states, drawn)
        return sizes[:, -1] - sizes[:, 0]

    def without(name: str, removed: Basis) -> np.ndarray:
        """Growth on every draw, whole and outside the shared subspace."""

        def compute() -> list[list[float]]:
            left = states_without(lab, prompts, removed)
            return [grown(part).tolist() for part in (left, left - left @ basis.T @ basis)]

        return np.array(lab.cell(f"growth without {name}", compute))

    whole, outside = grown(test), grown(test - test @ basis.T @ basis)
    found.add("growth.total", whole / variance(test, drawn)[:, -1])
    left, left_outside = without("shared", basis)
    gone = {"even layers": 1 - left / whole}
    found.add("taken.shared", gone["even layers"], n=len(test))
    found.add("taken.outside", 1 - left_outside / outside, n=len(test))
    private = private_bases(fit, basis)
    for layer, removed in lab.progress(private.items(), "private subspaces"):
        gone[f"layer {layer}"] = 1 - without(f"layer {layer}", removed)[0] / whole
    if private:
        found.add("taken.private", np.mean([*gone.values()][1:], axis=0), n=len(test))
    else:
        found.absent("taken.private")
    for name, draws in gone.items():
        group, ends = "shared" if name == "even layers" else "private", interval(draws)
        found.show("taken", label=[name], group=group, value=draws[0], n=len(test), **ends)


def interval(draws: np.ndarray) -> dict[str, np.ndarray]:
    """Columns `low` and `high`, of draws of which the first is as measured."""
    return stats.interval_columns(draws[1:])
