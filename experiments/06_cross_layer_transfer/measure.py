"""Model passes of experiment 06: refusal odds with directions written at sets and single layers."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, nan

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats as scipy_stats

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.reextraction import reextracted
from experiments.lab.rules import MAX_DEPTH, SIGNIFICANCE
from experiments.lab.selection import Prompts, Source, class_activations
from experiments.lab.spacing import spaced
from interp.directions import Direction, mean_difference
from interp.interventions import Add, Placement
from interp.sites import Site, everywhere

from .protocol import DOSE, FAR, FAR_LAYERS, GATE_DRAWS, MIN_SOURCES, MIN_TAKEN, OPERATORS, Config

REAL = "real"  # in place of a null family; draw 0 is the direction, others are re-extractions
HARMFUL, HARMLESS = "harmful", "harmless"
SETS = ("everywhere", "all_but", "halves", "second")
RIVALLED = ("all_but", "second")  # at which random directions are ablated as well
ANSWERED = ("base", "everywhere", "all_but")
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

    `chosen` are the sources that count, the strongest first; all of them if too few do. `nulls` are
    random directions, drawn at one chosen source after the other: its layer, family, number.
    """

    lab: Lab
    layers: Sources
    gate: pd.DataFrame  # layer, effect, taken, p, counts
    chosen: Sequence[int]
    targets: Sequence[int]
    again: Mapping[int, Sequence[Direction]]  # the direction, and re-extractions
    nulls: Sequence[tuple[int, str, int, Direction]]

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
    sites = [Site(layer, "pre") for layer in range(n)]
    # The second position is for `spaces`, from the same passes.
    found = class_activations(lab, sites, [-1, lab.position("last_instruction")], prompts)
    layers = {}
    for i, site in list(enumerate(sites))[1:]:
        classes = found[0][:, i, 0], found[1][:, i, 0]
        layers[site.layer] = Source(mean_difference(*classes, site, -1), *classes)
    candidates = spaced(range(n // 3, ceil(MAX_DEPTH * n)), config.n_sources)
    gate = gate_table(config, lab, {x: layers[x] for x in candidates}, prompts)
    kept = gate[gate.counts] if gate.counts.sum() >= MIN_SOURCES else gate
    chosen = [int(x) for x in kept.sort_values("effect", ascending=False).layer]
    targets = spaced(range(n // 2, n), config.n_targets)
    again = {
        x: [layers[x].direction, *reextracted(layers[x], config.n_reextractions, lab.rng("06"))]
        for x in sorted({*chosen, *targets})
    }
    nulls = nulls_in_turn(lab, {x: layers[x] for x in chosen}, config.n_nulls, "06.nulls")
    return Setup(lab, layers, gate, chosen, targets, again, nulls)


def gate_table(config: Config, lab: Lab, candidates: Sources, prompts: Prompts) -> pd.DataFrame:
    """What each direction does everywhere. Columns: layer, effect (nats), taken (share), ..."""
    harmful, harmless = (part[: config.n_test] for part in prompts.validation)
    meter = Meter(lab, {HARMFUL: harmful, HARMLESS: harmless}, name="gate")
    base = meter.scores(HARMFUL).odds.mean()
    gap = float(base - meter.scores(HARMLESS).odds.mean())

    def effect(direction: Direction, name: str) -> float:
        edit = Edit.ablating(direction.unit, name)
        return float(base - meter.scores(HARMFUL, edit).odds.mean())

    drawn = nulls_in_turn(lab, candidates, GATE_DRAWS, "06.gate")
    named = lab.progress(drawn, "random directions")
    null = np.array([effect(one, f"{at}/{family}/{i}") for at, family, i, one in named])
    effects = {x: effect(source.direction, str(x)) for x, source in candidates.items()}
    by_family = null.reshape(-1, GATE_DRAWS)
    rows = [(x, e, e / gap, pooled_p(e, by_family, len(effects))) for x, e in effects.items()]
    table = pd.DataFrame(rows, columns=["layer", "effect", "taken", "p"])
    half = (gap > 0) & (table.effect >= MIN_TAKEN * gap)
    return table.assign(counts=(table.p < SIGNIFICANCE) & half, strongest_null=null.max())


def pooled_p(effect: float, null: Float[np.ndarray, "family draw"], n_tests: int) -> float:
    """One-sided p of one more draw of the family that does most, Bonferroni over the tests.

    The prediction interval of Student's t, with the deviations of all families' draws from their
    means pooled. An effect that some draw reaches has p = 1.
    """
    n_families, n = null.shape
    freedom = n_families * (n - 1)
    spread = float(np.sqrt(((null - null.mean(1, keepdims=True)) ** 2).sum() / freedom))
    if not spread > 0 or effect <= null.max():
        return 1.0
    t = (effect - float(null.mean(1).max())) / (spread * np.sqrt(1 + 1 / n))
    return min(1.0, n_tests * float(scipy_stats.t.sf(t, freedom)))


def nulls_in_turn(
    lab: Lab, sources: Sources, n: int, purpose: str
) -> list[tuple[int, str, int, Direction]]:
    """`n` random directions of every family, drawn at one source after the other."""
    drawn = [(x, lab.nulls(source, n, purpose)) for x, source in sources.items()]
    turns = (drawn[i % len(drawn)] for i in range(len(drawn[0][1])))
    return [(x, *found[i]) for i, (x, found) in enumerate(turns)]


def layer_sets(setup: Setup, source: int, n_halves: int) -> Iterator[tuple[str, int, Layers]]:
    """Sets of layers by kind and number; of the halves every second is a complement."""
    n = setup.lab.model.n_layers
    away = [x for x in range(n) if abs(x - source) > 1]
    yield "everywhere", 0, tuple(range(n))
    yield "all_but", 0, tuple(away)
    yield "second", 0, tuple(x for x in range(n // 3, n) if (x - source) % 2)
    rng = setup.lab.rng(f"06.halves.{source}")
    halves = [part for _ in range(n_halves) for part in np.array_split(rng.permutation(away), 2)]
    yield from (("halves", i, tuple(sorted(map(int, half)))) for i, half in enumerate(halves))


def jobs_of(config: Config, setup: Setup) -> Iterator[Job]:
    """Everything that is written: at sets, at single targets, and one direction layer by layer."""
    for source in setup.chosen:
        for kind, number, layers in layer_sets(setup, source, config.n_halves):
            yield from set_jobs(setup, kind, source, number, setup.sites(layers))
    for operator in OPERATORS:
        for target in setup.targets:
            yield from single_jobs(setup, operator, target)
    strongest = setup.chosen[0]
    away = [x for x in setup.layers if abs(x - strongest) > 1]
    nulls = setup.lab.nulls(setup.layers[strongest], 1, "06.profile")
    for layer in spaced(away, config.n_profile or None):
        for family, draw, one in [(REAL, 0, setup.layers[strongest].direction), *nulls]:
            yield Job("profile", strongest, layer, one, setup.sites([layer]), family, draw)


def set_jobs(
    setup: Setup, kind: str, source: int, number: int, sites: tuple[Site, ...]
) -> Iterator[Job]:
    """Ablation at one set; pairs of halves take the direction and its re-extractions in turns."""
    again = setup.again[source]
    drawn = [again[number // 2 % len(again)]] if kind == "halves" else again
    for draw, one in enumerate(drawn):
        yield Job(kind, source, number, one, sites, REAL, draw)
    for at, family, draw, null in setup.nulls:
        if at == source and kind in RIVALLED:
            yield Job(kind, at, number, null, sites, family, draw)


def single_jobs(setup: Setup, operator: str, target: int) -> Iterator[Job]:
    """A target's own direction, that of far sources, and random ones, written at the target."""
    add = operator == "addition"
    norm = DOSE * setup.layers[target].direction.norm if add else 0.0
    sites = (Site(target, "pre"),) if add else setup.sites([target])
    far = [x for x in setup.chosen if setup.is_far(x, target, operator)]
    for source in (target, *far):
        for draw, one in enumerate(setup.again[source]):
            yield Job(operator, source, target, one, sites, REAL, draw, norm)
    for at, family, draw, null in setup.nulls:
        yield Job(operator, at, target, null, sites, family, draw, norm)


def meter_for(config: Config, lab: Lab) -> Meter:
    """As many harmful as harmless test prompts."""
    sets = {HARMFUL: lab.harmful_test.texts, HARMLESS: lab.harmless_test.texts}
    n = min(config.n_test, *map(len, sets.values()))
    orders = {on: lab.rng(f"06.{on}").permutation(len(texts))[:n] for on, texts in sets.items()}
    chosen = {on: tuple(sets[on][i] for i in order) for on, order in orders.items()}
    return Meter(lab, chosen, answer_tokens=config.answer_tokens)


def scored(meter: Meter, jobs: Sequence[Job]) -> pd.DataFrame:
    """Refusal odds in nats, by job and prompt (the row within its set).

    Rows of the kind "base" are of the unedited model. `kl` is the job's mean over harmless prompts,
    of random directions where they may break the model, else NaN.
    """
    names = ["kind", "source", "target", "family", "draw", "prompts", "kl", "prompt", "odds"]
    bases = [(on, row, x) for on in meter.prompts for row, x in enumerate(meter.scores(on).odds)]
    rows: list[tuple] = [("base", -1, -1, REAL, 0, on, nan, row, x) for on, row, x in bases]
    for job in meter.lab.progress(jobs, "directions at layers"):
        kl = nan
        if job.family != REAL and (job.norm or job.kind in RIVALLED[:1]):
            kl = float(meter.kl(HARMLESS, job.edit).mean())
        key = job.kind, job.source, job.target, job.family, job.draw, job.on, kl
        rows += [(*key, row, x) for row, x in enumerate(meter.scores(job.on, job.edit).odds)]
    return pd.DataFrame(rows, columns=names)


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
