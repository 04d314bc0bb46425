"""What `interp run speed` times: one function per kind of work, each a cell, so that a run resumes.

Every work is a real one of the experiments, on the same prompts, batch and dtype for both sides.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.spacing import spaced
from experiments.speed import baselines as plain_ways
from experiments.speed import bounds
from experiments.speed import memory as speed_memory
from experiments.speed.bounds import UNKNOWN, Bounds, Cost, Lengths
from experiments.speed.protocol import RATE, SPEED_UP, Config
from experiments.speed.timing import Pass, alternate
from interp.activations import capture
from interp.directions import Direction, mean_difference
from interp.generation import generate
from interp.interventions import Add, Placement, ablate
from interp.models import LoadedModel
from interp.predict import readout
from interp.prompts import Tokens
from interp.scores import kl_divergence, log_odds, opening_tokens
from interp.sites import Site, all_sites, everywhere

ENGINE = "engine"
BARE_BODY = "Hugging Face body"
BRIDGE = "TransformerLens run_with_hooks"
PLAIN_HOOKS = "plain Hugging Face hooks"
TIME = "of the baseline's time"
MEMORY = "of the memory for fewer prompts"
N_POSITIONS = 3  # of a candidate direction
WINDOW = 8  # layers
CLEAR = 0.25  # nats between the two likeliest tokens


@dataclass(frozen=True)
class Row:
    """One work beside one baseline; `key` names its target, and is empty where it has none."""

    key: str
    work: str
    baseline: str
    seconds: float
    baseline_seconds: float
    ratio: float
    unit: str
    bounds: Bounds = UNKNOWN


@dataclass(frozen=True, eq=False)
class Stage:
    """What all works share: model, the same weights without a bridge, prompts, a direction."""

    lab: Lab
    config: Config

    @property
    def model(self) -> LoadedModel:
        """The engine's model."""
        return self.lab.model

    @cached_property
    def plain(self) -> Any:
        """The Hugging Face model of the baselines."""
        return plain_ways.plain_model(self.model)

    @cached_property
    def cost(self) -> Cost:
        """Operations per token."""
        return bounds.cost_of(self.plain, plain_ways.blocks_of(self.plain))

    @cached_property
    def texts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Harmful and harmless prompts."""
        contrast, n = self.lab.contrast, self.config.n_prompts
        return contrast.positive[:n], contrast.negative[:n]

    @cached_property
    def harmful(self) -> Tokens:
        """The prompts that most works run on."""
        return self.lab.tokens(self.texts[0])

    @cached_property
    def harmless(self) -> Tokens:
        """The other class, for the selection of a direction."""
        return self.lab.tokens(self.texts[1])

    @cached_property
    def lengths(self) -> Lengths:
        """Token counts of the harmful prompts."""
        return bounds.lengths_of(self.harmful)

    @cached_property
    def sites(self) -> list[Site]:
        """Every `pre` and, where the model has it, `mid`."""
        streams = ("pre", "mid") if self.model.info.has_mid else ("pre",)
        return all_sites(self.model.n_layers, streams)

    @cached_property
    def direction(self) -> Direction:
        """Difference of class means half way up. What is written does not change what it costs."""
        site = Site(self.model.n_layers // 2, "pre")
        states = (
            capture(self.model, t, sites=[site])[:, 0, 0] for t in (self.harmful, self.harmless)
        )
        return mean_difference(*states, site)

    @cached_property
    def ablation(self) -> list[Placement]:
        """The direction removed at every site."""
        sites = everywhere(self.model.n_layers, self.model.info.has_mid)
        return [Placement(ablate(self.direction.unit), tuple(sites))]

    def addition(self, site: Site) -> list[Placement]:
        """The direction added at one site."""
        return [Placement(Add(self.direction.vector), (site,))]

    @cached_property
    def layers(self) -> list[int]:
        """Layers of the one-layer interventions."""
        return spaced(range(self.model.n_layers), self.config.n_layers)

    def next_token(self, tokens: Tokens) -> dict[str, Callable[[Sequence[Placement]], Tensor]]:
        """The three ways to next-token log probabilities [sample, vocab] under placements."""
        batch = plain_ways.plain_batch(self.model, tokens)
        return {
            ENGINE: lambda placed: readout(self.model, tokens, placed).log_probs,
            BRIDGE: partial(plain_ways.bridge_log_probs, self.model, batch),
            PLAIN_HOOKS: partial(plain_ways.hooked_log_probs, self.plain, batch),
        }

    def timed(self, key: str, ways: Callable[[], dict[str, list[Pass]]]) -> dict[str, float]:
        """Seconds of every way, measured once per run."""

        def watch(turns: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int]]:
            return self.lab.progress(turns, key)

        return self.lab.cell(f"speed/{key}", lambda: alternate(ways(), self.config.repeats, watch))


def speed_up_rows(
    key: str, work: str, seconds: dict[str, float], best: Bounds, scale: float = 1.0
) -> list[Row]:
    """A row per baseline. The first is the one that the target is for; `scale` scales seconds."""
    engine = seconds[ENGINE] * scale
    rows = []
    for name in (BRIDGE, PLAIN_HOOKS):
        ratio = seconds[name] / seconds[ENGINE]
        judged = key if name == BRIDGE else ""
        rows.append(Row(judged, work, name, engine, seconds[name] * scale, ratio, SPEED_UP, best))
    return rows


def capture_rows(stage: Stage) -> list[Row]:
    """Every residual state of the last token, beside a forward of the body that keeps nothing."""

    def ways() -> dict[str, list[Pass]]:
        batch = plain_ways.plain_batch(stage.model, stage.harmful)
        return {
            ENGINE: [lambda: capture(stage.model, stage.harmful, sites=stage.sites)],
            BARE_BODY: [lambda: plain_ways.body_states(stage.plain, batch)],
        }

    found = stage.timed("capture", ways)
    engine, body = found[ENGINE], found[BARE_BODY]
    best = bounds.capture_bounds(stage.lengths)
    work = "capture: all layers, pre and mid, last token"
    return [Row("capture", work, BARE_BODY, engine, body, engine / body, TIME, best)]


def agreement(stage: Stage) -> float:
    """Share of prompts with the same likeliest next token in all ways, ablated everywhere.

    A baseline that computed something else would be no baseline. Prompts whose two likeliest tokens
    are within CLEAR are left out: bf16 cannot tell them apart. NaN if no prompt is left.
    """

    def measure() -> float:
        found = [way(stage.ablation) for way in stage.next_token(stage.harmful).values()]
        first, second = found[0].topk(2).values.unbind(-1)
        top = torch.stack([log_probs.argmax(-1) for log_probs in found])[:, first - second > CLEAR]
        return float((top == top[0]).all(0).double().mean())

    return stage.lab.cell("speed/agreement", measure)


def edit_rows(
    stage: Stage, key: str, work: str, edits: Sequence[tuple[int, list[Placement]]]
) -> list[Row]:
    """Next-token log probabilities under edits, each with the first layer it changes; the mean."""

    def ways() -> dict[str, list[Pass]]:
        found = stage.next_token(stage.harmful)
        return {name: [partial(way, edit) for _, edit in edits] for name, way in found.items()}

    passes = [(stage.lengths, first) for first, _ in edits]
    best = bounds.speed_up_bounds(passes, stage.cost)
    return speed_up_rows(key, work, stage.timed(key, ways), best, 1 / len(edits))


def ablation_rows(stage: Stage) -> list[Row]:
    """One direction removed at every site."""
    return edit_rows(stage, "ablate", "ablate at every site", [(0, stage.ablation)])


def addition_rows(stage: Stage) -> list[Row]:
    """One direction added at one layer."""
    edits = [(layer, stage.addition(Site(layer, "pre"))) for layer in stage.layers]
    return edit_rows(stage, "add", f"add at one layer, mean over {len(edits)} layers", edits)


def transfer_rows(stage: Stage) -> list[Row]:
    """One direction ablated and added at single layers, then at windows of layers."""
    single = [(layer,) for layer in stage.layers]
    starts = range(max(1, stage.model.n_layers - WINDOW + 1))
    first = spaced(starts, stage.config.n_windows)
    windows = [tuple(range(x, min(x + WINDOW, stage.model.n_layers))) for x in first]
    kinds = (
        ("transfer", "single layers", single),
        ("", f"windows of {len(windows[0])} layers", windows),
    )
    found = []
    for key, name, targets in kinds:
        edits = [
            (target[0], [Placement(what, tuple(Site(layer, "pre") for layer in target))])
            for target in targets
            for what in (ablate(stage.direction.unit), Add(stage.direction.vector / len(target)))
        ]
        work = f"transfer: ablate and add, mean over {len(targets)} {name}"
        found += edit_rows(stage, key or "transfer windows", work, edits)
    return found


def selection_rows(stage: Stage) -> list[Row]:
    """Three scores of every candidate direction: bypass, induce and KL, all at the next token.

    The unedited model's own pass, one for all candidates, is left out on every side. What a
    candidate costs does not depend on the position it was taken at.
    """
    sites = spaced(stage.sites, stage.config.n_candidates)
    n_all = len(stage.sites) * N_POSITIONS

    def ways() -> dict[str, list[Pass]]:
        harmful, harmless = stage.next_token(stage.harmful), stage.next_token(stage.harmless)
        base = harmless[ENGINE]([])
        refusals = [opening[0] for opening in opening_tokens(stage.model)[0]]

        def scores(name: str, site: Site) -> tuple[float, float, float]:
            bypass = log_odds(harmful[name](stage.ablation), refusals).mean()
            induce = log_odds(harmless[name](stage.addition(site)), refusals).mean()
            kl = kl_divergence(base, harmless[name](stage.ablation)).mean()
            return float(bypass), float(induce), float(kl)

        return {name: [partial(scores, name, site) for site in sites] for name in harmful}

    other = bounds.lengths_of(stage.harmless)
    passes = [
        step for site in sites for step in ((stage.lengths, 0), (other, site.layer), (other, 0))
    ]
    best = bounds.speed_up_bounds(passes, stage.cost)
    n = stage.config.n_prompts
    work = (
        f"select a direction: {n_all} candidates, 3 scores each on {n} prompts per class "
        f"({len(sites)} evenly spaced candidates timed)"
    )
    found = stage.timed("select", ways)
    return speed_up_rows("select", work, found, best, n_all / len(sites))


def steered(stage: Stage) -> list[list[int]]:
    """Greedy answers of a fixed length with the direction added half way up."""
    placed = stage.addition(Site(stage.model.n_layers // 2, "pre"))
    n = stage.config.n_new_tokens
    return generate(stage.model, stage.harmful, placed, max_new_tokens=n, min_new_tokens=n)


def generation_rows(stage: Stage) -> list[Row]:
    """Steered generation beside unsteered generation by Hugging Face."""
    n = stage.config.n_new_tokens
    work = f"generate {n} tokens, steered at one layer"
    baseline = "Hugging Face generate, not steered"

    def ways() -> dict[str, list[Pass]]:
        batch = plain_ways.plain_batch(stage.model, stage.harmful)
        return {
            ENGINE: [partial(steered, stage)],
            baseline: [lambda: plain_ways.plain_generate(stage.plain, batch, n)],
        }

    found = stage.timed("generate", ways)
    engine, unsteered = found[ENGINE], found[baseline]
    best = bounds.generation_bounds(stage.lengths, stage.cost, n)
    return [Row("generate", work, baseline, engine, unsteered, engine / unsteered, TIME, best)]


def memory_rows(stage: Stage) -> list[Row]:
    """Peak memory of streaming statistics over few and over many prompts.

    Flat means that the peak of the whole process, weights included, stays the same.
    """
    few, many = stage.config.n_streamed_beside, stage.config.n_streamed
    folder = plain_ways.model_folder(stage.model)
    job = {
        "model": stage.model.info.name if folder is None else str(folder),
        "dtype": stage.model.info.dtype,
        "style": stage.lab.style,
        "prompts": list(stage.texts[0]),
    }
    found = [
        stage.lab.cell(f"speed/memory/{n}", lambda n=n: speed_memory.measure({**job, "n": n}))
        for n in stage.lab.progress((few, many), "memory")
    ]
    small, large = found
    work = f"streaming statistics: peak memory of {many:,} prompts"
    return [
        Row(
            "memory",
            f"{work} ({large['peak_mb']:,.0f} MB with the weights)",
            f"the same, {few:,} prompts ({small['peak_mb']:,.0f} MB)",
            large["seconds"],
            small["seconds"],
            large["peak_mb"] / small["peak_mb"],
            MEMORY,
        )
    ]


def rate_rows(stage: Stage) -> list[Row]:
    """Arithmetic rate of the body in a capture at every site, beside the machine's own peak.

    Counted are the linear layers of the blocks at tokens that exist, the shared prefix once. The
    baseline's seconds are those that the same operations take at the peak.
    """
    size = stage.config.matrix_size
    sites = everywhere(stage.model.n_layers, stage.model.info.has_mid)

    def ways() -> dict[str, list[Pass]]:
        generator = torch.Generator().manual_seed(stage.config.seed)
        square = torch.randn(size, size, generator=generator)
        square = square.to(stage.model.device, stage.model.dtype)
        return {
            ENGINE: [lambda: capture(stage.model, stage.harmful, sites=sites)],
            "peak": [lambda: torch.mm(square, square)],
        }

    found = stage.timed("rate", ways)
    peak = 2 * size**3 / found["peak"]
    cost = stage.cost
    work = stage.lengths.packed * cost.n_layers * cost.block
    rate = work / found[ENGINE]
    return [
        Row(
            "rate",
            f"arithmetic rate of the body, no padding counted ({rate / 1e9:,.0f} GFLOP/s)",
            f"product of {size} x {size} matrices ({peak / 1e9:,.0f} GFLOP/s)",
            found[ENGINE],
            work / peak,
            rate / peak,
            RATE,
            Bounds(stage.lengths.packed / stage.lengths.padded, 1.0),
        )
    ]


WORKS: tuple[Callable[[Stage], list[Row]], ...] = (
    capture_rows,
    ablation_rows,
    addition_rows,
    selection_rows,
    transfer_rows,
    generation_rows,
    memory_rows,
    rate_rows,
)
