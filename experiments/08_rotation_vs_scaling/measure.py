"""Model passes of experiment 08: refusal odds of the test prompts under every edit.

Of a prompt the start of its hash is kept, of an answer its class.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.passages import Passages
from experiments.lab.reextraction import reextracted
from experiments.lab.selection import Selection, Source, class_activations, directions_of
from interp import planes
from interp.directions import Direction, mean_difference
from interp.interventions import Add, Intervention, Placement, RotateTo, ablate
from interp.planes import Plane, ScaleState
from interp.sites import Site, all_sites
from interp.turns import KeepNorm, RotateAsLong, TurnBy, TurnTo, chord_degrees

from .protocol import DEPTHS, DOSES, FACTORS, LONGER, TURNS, Config

ALL, SOME = "all", "some"  # harmful test prompts, then as many harmless ones; SOME for 08a
CLASSES = ("harmful", "harmless")
TEXT_TOKENS = 32
OTHERS = ("sentiment", "register", "persona", "syntax")
N_OTHERS = 12  # texts per side that another behaviour's direction is from
COLUMNS = ["part", "family", "draw", "dose", "site"]


@dataclass(frozen=True, eq=False)
class Step:
    """One edit to measure: what its scores are filed under, and what is written where."""

    part: str
    family: str
    draw: int
    dose: float
    written: tuple[Placement, ...]

    @property
    def columns(self) -> tuple[object, ...]:
        """Values of COLUMNS, which no other step has."""
        sites = self.written[-1].sites or ("",)
        return self.part, self.family, self.draw, self.dose, str(sites[0])

    @property
    def edit(self) -> Edit:
        """Named by the columns."""
        return Edit("/".join(map(str, self.columns)), self.written)


def at(site: Site, edit: Intervention) -> tuple[Placement]:
    """An edit written at one site, at every token."""
    return (Placement(edit, (site,)),)


def meter_for(config: Config, lab: Lab) -> Meter:
    """Test prompts, and text."""

    def drawn(on: str, texts: Sequence[str], n: int) -> tuple[str, ...]:
        return tuple(texts[i] for i in lab.rng(f"08.{on}").permutation(len(texts))[:n])

    texts = lab.harmful_test.texts, lab.harmless_test.texts
    n = min(config.n_test, *map(len, texts))
    classes = [drawn(on, part, n) for on, part in zip(CLASSES, texts, strict=True)]
    sets = {on: part[: config.n_answered] for on, part in zip(CLASSES, classes, strict=True)}
    for name, size in ((ALL, n), (SOME, config.n_length)):
        sets[name] = tuple(text for part in classes for text in part[:size])
    return Meter(
        lab, sets, Passages(lab.model, drawn("text", lab.text, config.n_text), TEXT_TOKENS)
    )


def length_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08a: rescaled states and turns of the same chord; the last state, rescaled, as a control."""
    layers = lab.model.n_layers
    yield Step("length", "last", 0, LONGER, at(Site(layers - 1, "post"), ScaleState(LONGER)))
    for site in dict.fromkeys(Site(int(share * layers), "pre") for share in DEPTHS):
        source = source_at(lab, site, selection)
        own = [("own_plane", i, (-1) ** i * source.direction.unit) for i in range(2)]
        nulls = lab.nulls(source, config.n_turns, f"08.turns at {site}")
        turns = own[: config.n_turns] + [(f, i, one.unit) for f, i, one in nulls if f in TURNS]
        for factor in FACTORS:
            yield Step("length", "rescaled", 0, factor, at(site, ScaleState(factor)))
            for family, draw, unit in turns:
                turn_by = TurnBy(unit, chord_degrees(abs(factor - 1)))
                yield Step("length", family, draw, factor, at(site, turn_by))


def source_at(lab: Lab, site: Site, selection: Selection) -> Source:
    """The train states of the classes at another site, and their mean difference."""
    position = selection.direction.position or -1
    states = [p[:, 0, 0] for p in class_activations(lab, [site], [position], selection.prompts)]
    return Source(mean_difference(*states, site, position), *states)


def own_plane_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08b and 08c: additions, with and without the old length, and turns; then re-extractions."""
    site, length = site_of(selection), mean_norm(selection)
    for draw, direction in enumerate(directions(config, lab, selection)):
        for dose in DOSES:
            add = Add(dose * length * direction.unit)
            yield Step("adding", "plain", draw, dose, at(site, add))
            yield Step("adding", "kept", draw, dose, at(site, KeepNorm(add)))
        for angle in turn(config.n_angles):
            yield Step("own", "turned", draw, angle, at(site, TurnTo(direction.unit, angle)))


def directions(config: Config, lab: Lab, selection: Selection) -> list[Direction]:
    """The direction, then re-extractions of it."""
    rng = lab.rng("08.again")
    return [selection.direction, *reextracted(selection, config.n_reextractions, rng)]


def turn(n: int) -> list[float]:
    """Evenly spaced angles of a full turn, in degrees."""
    return [360 * i / n for i in range(n)]


def fixed_plane_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08d: the plane, with the direction re-extracted too, and random planes of every family."""
    site, position = site_of(selection), selection.direction.position or -1
    sites = all_sites(lab.model.n_layers, ("pre", "mid") if lab.model.info.has_mid else ("pre",))
    layers = directions_of(lab, sites, (position,), selection.prompts).values()
    units, means = torch.stack([one.unit for one in layers]), selection.negative.mean(0)[None]
    drawn = directions(config, lab, selection)
    true = [planes.steering_plane(one.unit, units, means) for one in drawn]
    for draw, plane in enumerate(true):
        for angle in turn(config.n_angles):
            edit = RotateTo(plane.b1, plane.b2, angle)
            yield Step("plane", "plane", draw, angle, at(site, edit))
    for draw, plane in random_planes(config, lab, true[0], selection):
        for angle in turn(4):
            edit = RotateAsLong(plane, angle, true[0])
            yield Step("plane", plane.family, draw, angle, at(site, edit))


def random_planes(
    config: Config, lab: Lab, plane: Plane, selection: Selection
) -> Iterator[tuple[int, Plane]]:
    """Random planes of the three families."""
    n, seed = config.n_planes, int(lab.rng("08.planes").integers(2**31))
    states = torch.cat([selection.positive, selection.negative])
    yield from enumerate(planes.isotropic_planes(plane, n, seed))
    yield from enumerate(planes.covariance_planes(plane, states, n, seed))
    yield from enumerate(planes.random_second_axis(plane, n, seed))


def competition_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08e: other behaviours added after the site, to states as they are and to longer ones."""
    site = site_of(selection)
    later = Site((site.layer + lab.model.n_layers) // 2, "pre")
    refusal, longer = source_at(lab, later, selection), at(site, ScaleState(LONGER))
    yield Step("competition", "alone", 0, LONGER, longer)
    for draw, name in enumerate(OTHERS[: config.n_others]):
        other = mean_norm(refusal) * other_unit(lab, name, refusal)
        for number, vector in ((2 * draw, other), (2 * draw + 1, -other)):
            for dose, before in ((1.0, ()), (LONGER, longer)):
                yield Step("competition", "added", number, dose, before + at(later, Add(vector)))


def other_unit(lab: Lab, name: str, refusal: Source) -> Float[Tensor, " d_model"]:
    """Unit difference of a registered set's means, orthogonal to the refusal direction there."""
    found, site = lab.data(name), refusal.direction.site
    assert site is not None  # it was taken there
    sides = [list(side)[:N_OTHERS] for side in (found.positive, found.negative)]
    states = [lab.activations(side, [site])[:, 0, 0] for side in sides]
    rest = ablate(refusal.direction.unit)(mean_difference(*states, site, -1).unit)
    return rest / rest.norm()


def site_of(selection: Selection) -> Site:
    """Where the direction is from."""
    site = selection.direction.site
    assert site is not None  # selection takes none without
    return site


def mean_norm(source: Source) -> float:
    """Mean length of the train states."""
    return float(torch.cat([source.positive, source.negative]).double().norm(dim=-1).mean())


def measured(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """Refusal odds (nats) of every prompt under every step, and without (part "base").

    Columns: COLUMNS, set, prompt (id), value.
    """
    plan = [(on, ("base", on, 0, 0.0, ""), BASE) for on in (ALL, SOME)]
    plan += [(SOME if s.part == "length" else ALL, s.columns, s.edit) for s in steps]
    parts = []
    for on, columns, edit in meter.lab.progress(plan, "editing states"):
        texts = meter.prompts[on]
        ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in texts]
        named = dict(zip(COLUMNS, columns, strict=True))
        named |= {"set": [name for name in CLASSES for _ in range(len(texts) // 2)], "prompt": ids}
        parts.append(pd.DataFrame({**named, "value": meter.scores(on, edit).odds}))
    return pd.concat(parts, ignore_index=True)


def text_damage(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """KL on text (nats per token) of the turns of the direction itself. Columns: angle, kl."""
    turns = [step for step in steps if step.family == "turned" and step.draw == 0]
    found = [(s.dose, meter.text(s.edit)["kl"].mean()) for s in meter.lab.progress(turns, "text")]
    return pd.DataFrame(found, columns=["angle", "kl"])


def answered(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """Class of the answers to some prompts, unedited and under the additions of both versions."""
    added = [step for step in steps if step.part == "adding" and step.draw == 0]
    plan = [("base", 0.0, BASE), *((step.family, step.dose, step.edit) for step in added)]
    rows = [
        (on, family, dose, answer)
        for on in CLASSES if meter.prompts[on]
        for family, dose, edit in meter.lab.progress(plan, "answering")
        for answer in meter.answers(on, edit)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["set", "family", "dose", "answer"])
