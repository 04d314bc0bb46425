"""Model passes of experiment 06: refusal odds with directions written at sets and single layers."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, nan

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats as scipy_stats

from experiments.lab.lab import Lab
from experiments.lab.meter import Edit, Meter
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
Sources = Mapping[int, Source]
Nulls = Sequence[tuple[int, str, int, Direction]]  # layer it was drawn at, family, number


@dataclass(frozen=True, eq=False)
class Job:
    """One direction written at some layers; `target` is the layer or the number of the set."""

    kind: str
    source: int  # the layer it was taken at
    target: int
    direction: Direction
    layers: Sequence[int]
    family: str = REAL
    draw: int = 0
    norm: float = 0.0  # of what is added; ablated if 0

    def edit(self, lab: Lab) -> Edit:
        """By a name that no other job has; adds where a layer begins, ablates at all its states."""
        name = f"{self.kind}/{self.source}/{self.target}/{self.family}/{self.draw}"
        if self.norm:
            sites = tuple(Site(layer, "pre") for layer in self.layers)
            return Edit(name, (Placement(Add(self.direction.unit * self.norm), sites),))
        states = everywhere(lab.model.n_layers, lab.model.info.has_mid)
        return Edit(
            name, (self.direction.ablate(tuple(s for s in states if s.layer in self.layers)),)
        )


@dataclass(frozen=True, eq=False)
class Setup:
    """Directions of every layer but the first, and which are written where.

    `chosen` are the sources that count, the strongest first; all of them if too few do.
    """

    layers: Sources
    gate: pd.DataFrame  # layer, effect, taken, p, counts
    chosen: Sequence[int]
    targets: Sequence[int]
    again: Mapping[int, Sequence[Direction]]  # the direction, and re-extractions
    nulls: Nulls


def prepare(config: Config, lab: Lab, prompts: Prompts) -> Setup:
    """Directions at every layer, the sources that count, and re-extractions at those in use."""
    n = lab.model.n_layers
    sites = [Site(layer, "pre") for layer in range(n)]
    # The second position is for `spaces`, from the same passes.
    both = class_activations(lab, sites, [-1, lab.position("last_instruction")], prompts)
    layers = {}
    for x in range(1, n):
        classes = both[0][:, x, 0], both[1][:, x, 0]
        layers[x] = Source(mean_difference(*classes, sites[x], -1), *classes)
    candidates = spaced(range(n // 3, ceil(MAX_DEPTH * n)), config.n_sources)
    gate = gate_table(config, lab, {x: layers[x] for x in candidates}, prompts)
    kept = gate[gate.counts] if gate.counts.sum() >= MIN_SOURCES else gate
    chosen = [int(x) for x in kept.sort_values("effect", ascending=False).layer]
    targets = spaced(range(n // 2, n), config.n_targets)
    again = {
        x: [layers[x].direction, *reextracted(layers[x], config.n_reextractions, lab.rng("06"))]
        for x in (*chosen, *targets)
    }
    nulls = nulls_in_turn(lab, {x: layers[x] for x in chosen}, config.n_nulls, "06.nulls")
    return Setup(layers, gate, chosen, targets, again, nulls)


def gate_table(config: Config, lab: Lab, candidates: Sources, prompts: Prompts) -> pd.DataFrame:
    """What each direction does everywhere. Columns: layer, effect (nats), taken (share), ..."""
    parts = (part[: config.n_test] for part in prompts.validation)
    meter = Meter(lab, dict(zip((HARMFUL, HARMLESS), parts, strict=True)), name="gate")
    base = meter.scores(HARMFUL).mean()
    gap = float(base - meter.scores(HARMLESS).mean())

    def effect(direction: Direction, name: str) -> float:
        edit = Edit.ablating(direction.unit, name)
        return float(base - meter.scores(HARMFUL, edit).mean())

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


def nulls_in_turn(lab: Lab, sources: Sources, n: int, purpose: str) -> Nulls:
    """`n` random directions of every family, drawn at one source after the other."""
    drawn = [(x, lab.nulls(source, n, purpose)) for x, source in sources.items()]
    turns = (drawn[i % len(drawn)] for i in range(len(drawn[0][1])))
    return [(x, *found[i]) for i, (x, found) in enumerate(turns)]


def layer_sets(config: Config, lab: Lab, source: int) -> Iterator[tuple[str, int, Sequence[int]]]:
    """Sets of layers by kind and number; of the halves every second is a complement."""
    n = lab.model.n_layers
    away = [x for x in range(n) if abs(x - source) > 1]
    yield "everywhere", 0, range(n)
    yield "all_but", 0, away
    yield "second", 0, [x for x in range(n // 3, n) if (x - source) % 2]
    rng = lab.rng(f"06.halves.{source}")
    pairs = (np.array_split(rng.permutation(away), 2) for _ in range(config.n_halves))
    yield from (("halves", i, half.tolist()) for i, half in enumerate(x for p in pairs for x in p))


def jobs_of(config: Config, lab: Lab, setup: Setup) -> Iterator[Job]:
    """Everything that is written: at sets, at single targets, and one direction layer by layer.

    Pairs of halves take the direction and its re-extractions in turns.
    """
    for source, again in ((x, setup.again[x]) for x in setup.chosen):
        for kind, number, layers in layer_sets(config, lab, source):
            turn = number // 2 % len(again)
            one = {"everywhere": again[:1], "halves": again[turn : turn + 1]}
            for draw, direction in enumerate(one.get(kind, again)):
                yield Job(kind, source, number, direction, layers, draw=draw)
            for at, *drawn, null in setup.nulls if kind in RIVALLED else ():
                if at == source:
                    yield Job(kind, at, number, null, layers, *drawn)
    for operator, target in ((x, t) for x in OPERATORS for t in setup.targets):
        yield from single_jobs(lab, setup, operator, target)
    strongest = setup.chosen[0]
    away = [x for x in setup.layers if abs(x - strongest) > 1]
    drawn = lab.nulls(setup.layers[strongest], 1, "06.profile")
    for x in spaced(away, config.n_profile or None):
        for family, draw, one in [(REAL, 0, setup.layers[strongest].direction), *drawn]:
            yield Job("profile", strongest, x, one, [x], family, draw)


def single_jobs(lab: Lab, setup: Setup, operator: str, target: int) -> Iterator[Job]:
    """A target's own direction, that of far sources, and random ones, written at the target."""
    add = operator == "addition"
    norm = DOSE * setup.layers[target].direction.norm if add else 0.0
    least = max(FAR_LAYERS, ceil(FAR * lab.model.n_layers))
    far = [x for x in setup.chosen if (target - x if add else abs(target - x)) >= least]
    for source in (target, *far):
        for draw, one in enumerate(setup.again[source]):
            yield Job(operator, source, target, one, [target], draw=draw, norm=norm)
    for at, family, draw, null in setup.nulls:
        yield Job(operator, at, target, null, [target], family, draw, norm)


def scored(config: Config, lab: Lab, jobs: Sequence[Job]) -> pd.DataFrame:
    """Refusal odds in nats of test prompts, by job and prompt (row within its class, and id).

    Rows of the kind "base" are of the unedited model. `kl` is the job's mean over harmless prompts,
    of random directions where they may break the model, else NaN.
    """
    sets = {HARMFUL: lab.harmful_test.texts, HARMLESS: lab.harmless_test.texts}
    n = min(config.n_test, *map(len, sets.values()))
    orders = {on: lab.rng(f"06.{on}").permutation(len(texts))[:n] for on, texts in sets.items()}
    meter = Meter(lab, {on: tuple(sets[on][i] for i in rows) for on, rows in orders.items()})
    ids = {
        on: [hashlib.sha256(text.encode()).hexdigest()[:10] for text in texts]
        for on, texts in meter.prompts.items()
    }
    found = {("base", -1, -1, REAL, 0, on, nan): meter.scores(on) for on in ids}
    for job in lab.progress(jobs, "directions at layers"):
        edit, on = job.edit(lab), HARMLESS if job.norm else HARMFUL
        breaks = job.family != REAL and (job.norm or job.kind == RIVALLED[0])
        kl = float(meter.kl(HARMLESS, edit).mean()) if breaks else nan
        key = job.kind, job.source, job.target, job.family, job.draw, on, kl
        found[key] = meter.scores(on, edit)
    rows = [(*x, i, ids[x[5]][i], odds) for x, part in found.items() for i, odds in enumerate(part)]
    names = ["kind", "source", "target", "family", "draw", "prompts", "kl", "prompt", "id", "odds"]
    return pd.DataFrame(rows, columns=names)
