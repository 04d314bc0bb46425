"""Model passes of experiment 06: refusal odds with directions written at sets and single layers."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.reextraction import reextracted
from experiments.lab.rules import MAX_DEPTH, SIGNIFICANCE
from experiments.lab.selection import Prompts, Source, class_activations, search_p
from experiments.lab.spacing import spaced
from interp.directions import Direction, mean_difference
from interp.interventions import Add, Placement
from interp.sites import Site, everywhere

from .protocol import FAR, FAR_LAYERS, GATE_DRAWS, MIN_SOURCES, OPERATORS, Config

REAL = "real"  # in place of a null family; draw 0 is the direction, others are re-extractions
HARMFUL, HARMLESS = "harmful", "harmless"
SETS = ("all_but", "halves", "second")  # that decide
ANSWERED = ("base", "everywhere", "all_but", "second")
Layers = tuple[int, ...]
Sources = Mapping[int, Source]


@dataclass(frozen=True, eq=False)
class Job:
    """One direction written at some layers; `target` is the layer or the number of the set."""

    kind: str
    source: int  # the layer it was taken at
    target: int
    direction: Direction
    sites: tuple[Site, ...]
    family: str = REAL
    draw: int = 0
    norm: float = 0.0  # of what is added; ablated if 0

    @property
    def on(self) -> str:
        """The prompts whose odds it should change."""
        return HARMLESS if self.norm else HARMFUL

    @property
    def edit(self) -> Edit:
        """By a name that no other job has."""
        name = f"{self.kind}/{self.source}/{self.target}/{self.family}/{self.draw}"
        if self.norm:
            return Edit(name, (Placement(Add(self.direction.unit * self.norm), self.sites),))
        return Edit(name, (self.direction.ablate(self.sites),))


@dataclass(frozen=True, eq=False)
class Setup:
    """Directions of every layer but the first, and where they are written.

    `chosen` are the sources that count, the strongest first; all of them if too few do.
    """

    lab: Lab
    layers: Sources
    gate: pd.DataFrame  # layer, effect, p, counts
    chosen: Sequence[int]
    targets: Sequence[int]
    again: Mapping[int, Sequence[Direction]]  # the direction, and re-extractions

    def sites(self, layers: Iterable[int]) -> tuple[Site, ...]:
        """Every state of some layers."""
        model, wanted = self.lab.model, set(layers)
        return tuple(s for s in everywhere(model.n_layers, model.info.has_mid) if s.layer in wanted)

    def is_far(self, source: int, target: int, operator: str) -> bool:
        """Whether a target is far enough from a source, and deeper if something is added there."""
        distance = target - source if operator == "addition" else abs(target - source)
        return distance >= max(FAR_LAYERS, ceil(FAR * self.lab.model.n_layers))


def prepare(config: Config, lab: Lab, prompts: Prompts) -> Setup:
    """Directions at every layer, the sources that count, and re-extractions at those in use."""
    n = lab.model.n_layers
    sites = [Site(layer, "pre") for layer in range(1, n)]
    found = class_activations(lab, sites, [-1], prompts)
    layers = {}
    for i, site in enumerate(sites):
        classes = found[0][:, i, 0], found[1][:, i, 0]
        layers[site.layer] = Source(mean_difference(*classes, site, -1), *classes)
    candidates = spaced(range(n // 3, ceil(MAX_DEPTH * n)), config.n_sources)
    gate = gate_table(lab, {x: layers[x] for x in candidates}, prompts)
    kept = gate[gate.counts] if gate.counts.sum() >= MIN_SOURCES else gate
    chosen = [int(x) for x in kept.sort_values("effect", ascending=False).layer]
    targets = spaced(range(max(1, n // 3), n), config.n_targets)
    again = {
        x: [layers[x].direction, *reextracted(layers[x], config.n_reextractions, lab.rng("06"))]
        for x in {*chosen, *targets}
    }
    return Setup(lab, layers, gate, chosen, targets, again)


def gate_table(lab: Lab, candidates: Sources, prompts: Prompts) -> pd.DataFrame:
    """Fall of the odds by each direction everywhere. Columns: layer, effect, p, counts, ..."""
    meter = Meter(lab, {HARMFUL: prompts.validation[0]}, name="gate")
    base = meter.scores(HARMFUL).odds.mean()

    def effect(direction: Direction, name: str) -> float:
        edit = Edit.ablating(direction.unit, name)
        return float(base - meter.scores(HARMFUL, edit).odds.mean())

    drawn = nulls_in_turn(lab, candidates, GATE_DRAWS, "06.gate")
    named = lab.progress(drawn, "random directions")
    null = np.array([effect(one, f"{at}/{family}/{i}") for at, family, i, one in named])
    effects = {x: effect(source.direction, str(x)) for x, source in candidates.items()}
    rows = [(x, e, search_p(e, null, len(effects))) for x, e in effects.items()]
    table = pd.DataFrame(rows, columns=["layer", "effect", "p"])
    return table.assign(counts=table.p < SIGNIFICANCE, strongest_null=null.max())


def nulls_in_turn(
    lab: Lab, sources: Sources, n: int, purpose: str
) -> list[tuple[int, str, int, Direction]]:
    """`n` random directions of every family, drawn at one source after the other."""
    drawn = [(x, lab.nulls(source, n, purpose)) for x, source in sources.items()]
    turns = (drawn[i % len(drawn)] for i in range(len(drawn[0][1])))
    return [(x, *found[i]) for i, (x, found) in enumerate(turns)]


def layer_sets(setup: Setup, source: int, n_halves: int) -> dict[tuple[str, int], Layers]:
    """Sets of layers without the source, by kind and number; every second half is a complement."""
    n = setup.lab.model.n_layers
    away = [x for x in range(n) if abs(x - source) > 1]
    second = tuple(x for x in range(n // 3, n) if (x - source) % 2)
    found: dict[tuple[str, int], Layers] = {("all_but", 0): tuple(away), ("second", 0): second}
    rng = setup.lab.rng(f"06.halves.{source}")
    for i in range(n_halves):
        halves = np.array_split(rng.permutation(away), 2)
        for j, half in enumerate(halves):
            found["halves", 2 * i + j] = tuple(sorted(map(int, half)))
    return found


def windows(setup: Setup, source: int) -> dict[tuple[str, int], Layers]:
    """All layers, and the quarters of the depth that hold neither the source nor a neighbour."""
    n = setup.lab.model.n_layers
    quarters = [tuple(map(int, part)) for part in np.array_split(np.arange(n), 4)]
    away = [q for q in quarters if q and all(abs(x - source) > 1 for x in q)]
    return {("everywhere", 0): tuple(range(n)), **{("window", q[0]): q for q in away}}


def set_jobs(config: Config, setup: Setup) -> Iterator[Job]:
    """Ablation at sets: every source and its re-extractions, windows of the strongest, nulls."""
    sets = {source: layer_sets(setup, source, config.n_halves) for source in setup.chosen}
    for source, named in sets.items():
        for (kind, number), layers in named.items():
            for draw, one in enumerate(setup.again[source]):
                yield Job(kind, source, number, one, setup.sites(layers), REAL, draw)
    strongest = setup.chosen[0]
    for (kind, number), layers in windows(setup, strongest).items():
        direction = setup.layers[strongest].direction
        yield Job(kind, strongest, number, direction, setup.sites(layers))
    for at, family, draw, null in null_draws(config, setup):
        for (kind, number), layers in sets[at].items():
            yield Job(kind, at, number, null, setup.sites(layers), family, draw)


def null_draws(config: Config, setup: Setup) -> list[tuple[int, str, int, Direction]]:
    """The random directions of sets and single layers."""
    sources = {x: setup.layers[x] for x in setup.chosen}
    return nulls_in_turn(setup.lab, sources, config.n_nulls, "06.nulls")


def single_jobs(config: Config, setup: Setup) -> Iterator[Job]:
    """Addition and ablation at single targets: their own direction, far sources, nulls."""
    nulls = null_draws(config, setup)
    for operator in OPERATORS:
        for t in setup.targets:
            norm = setup.layers[t].direction.norm if operator == "addition" else 0.0
            sites = (Site(t, "pre"),) if operator == "addition" else setup.sites([t])
            own = [(f"{operator}/own", t, one) for one in setup.again[t]]
            far = [
                (f"{operator}/far", source, one)
                for source in setup.chosen
                if setup.is_far(source, t, operator)
                for one in setup.again[source]
            ]
            for i, (kind, source, one) in enumerate([*own, *far]):
                draw = i % (1 + config.n_reextractions)
                yield Job(kind, source, t, one, sites, REAL, draw, norm)
            for at, family, draw, null in nulls:
                yield Job(f"{operator}/random", at, t, null, sites, family, draw, norm)


def profile_jobs(setup: Setup) -> Iterator[Job]:
    """The strongest source's direction, ablated at every single layer away from it."""
    strongest = setup.chosen[0]
    for layer in setup.layers:
        if abs(layer - strongest) > 1:
            direction = setup.layers[strongest].direction
            yield Job("profile", strongest, layer, direction, setup.sites([layer]))


def meter_for(config: Config, lab: Lab) -> Meter:
    """As many harmful as harmless test prompts."""
    sets = {HARMFUL: lab.harmful_test.texts, HARMLESS: lab.harmless_test.texts}
    n = min(config.n_test, *map(len, sets.values()))
    orders = {on: lab.rng(f"06.{on}").permutation(len(texts))[:n] for on, texts in sets.items()}
    chosen = {on: tuple(sets[on][i] for i in order) for on, order in orders.items()}
    return Meter(lab, chosen, answer_tokens=config.answer_tokens)


def scored(meter: Meter, jobs: Sequence[Job]) -> pd.DataFrame:
    """Refusal odds, in nats. Columns: kind, source, target, family, draw, prompts, prompt, odds.

    Rows of the kind "base" are of the unedited model; `prompt` is the row within its set.
    """
    columns = ["kind", "source", "target", "family", "draw", "prompts", "prompt", "odds"]
    found = {("base", -1, -1, REAL, 0, on): meter.scores(on).odds for on in meter.prompts}
    for job in meter.lab.progress(jobs, "directions at layers"):
        key = job.kind, job.source, job.target, job.family, job.draw, job.on
        found[key] = meter.scores(job.on, job.edit).odds
    rows = [(*key, row, x) for key, odds in found.items() for row, x in enumerate(odds)]
    return pd.DataFrame(rows, columns=columns)


def answered(meter: Meter, jobs: Sequence[Job], strongest: int) -> pd.DataFrame:
    """Class of the answer to every harmful test prompt. Columns: condition, prompt (id), answer."""
    edits = {
        job.kind: job.edit
        for job in jobs
        if job.kind in ANSWERED and (job.source, job.family, job.draw) == (strongest, REAL, 0)
    }
    ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in meter.prompts[HARMFUL]]
    parts = [
        pd.DataFrame({"condition": name, "prompt": ids, "answer": meter.answers(HARMFUL, edit)})
        for name, edit in ({"base": BASE} | edits).items()
    ]
    return pd.concat(parts, ignore_index=True)
