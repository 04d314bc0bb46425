"""Model passes of experiment 08: refusal odds of the test prompts under every edit.

Of a prompt the start of its hash is kept, of an answer its class.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
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
from interp.directions import mean_difference
from interp.interventions import Add, Intervention, Placement, RotateTo, ablate
from interp.planes import Plane, ScaleState
from interp.sites import Site, all_sites
from interp.turns import KeepNorm, RotateAsLong, TurnBy, TurnTo, chord_degrees

from .protocol import DEPTHS, DOSES, FACTORS, LONGER, TURNS, Config

ALL, SOME = "both", "both/length"  # sets: harmful test prompts, then as many harmless ones
TEXT_TOKENS = 32
OTHERS = ("sentiment", "register", "persona", "syntax")
N_OTHERS = 12  # texts per side that another behaviour's direction is from
COLUMNS = ["part", "family", "draw", "site", "dose"]


@dataclass(frozen=True, eq=False)
class Step:
    """One edit to measure: its columns, and what is written where."""

    part: str
    family: str
    draw: int
    site: Site
    dose: float
    written: tuple[tuple[Intervention, Site], ...]

    @classmethod
    def at(
        cls, part: str, family: str, draw: int, site: Site, dose: float, edit: Intervention
    ) -> "Step":
        """An edit at one site."""
        return cls(part, family, draw, site, dose, ((edit, site),))

    @property
    def columns(self) -> tuple[str, str, int, str, float]:
        """Values of COLUMNS."""
        return self.part, self.family, self.draw, str(self.site), self.dose

    @property
    def edit(self) -> Edit:
        """Named by the columns, which no other step has."""
        placements = tuple(Placement(edit, (site,)) for edit, site in self.written)
        return Edit("/".join(map(str, self.columns)), placements)


def meter_for(config: Config, lab: Lab) -> Meter:
    """Test prompts, and text."""

    def drawn(on: str, texts: Sequence[str], n: int) -> tuple[str, ...]:
        return tuple(texts[i] for i in lab.rng(f"08.{on}").permutation(len(texts))[:n])

    n = min(config.n_test, len(lab.harmful_test.texts), len(lab.harmless_test.texts))
    classes = drawn("harmful", lab.harmful_test.texts, n), drawn(
        "harmless", lab.harmless_test.texts, n
    )
    sets = {ALL: (*classes[0], *classes[1])}
    sets[SOME] = tuple(text for part in classes for text in part[: config.n_length])
    sets |= {on: part[: config.n_answered] for on, part in zip(("harmful", "harmless"), classes)}
    passages = Passages(lab.model, drawn("text", lab.text, config.n_text), TEXT_TOKENS)
    return Meter(lab, sets, passages)


def length_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08a: rescaled states and turns of the same chord; the last state, rescaled, as a control."""
    layers = [int(share * lab.model.n_layers) for share in DEPTHS]
    last = Site(lab.model.n_layers - 1, "post")
    yield Step.at("length", "last", 0, last, LONGER, ScaleState(LONGER))
    for site in dict.fromkeys(Site(layer, "pre") for layer in layers):
        source = source_at(lab, site, selection)
        towards = [("own_plane", i, (-1) ** i * source.direction.unit) for i in range(2)]
        nulls = lab.nulls(source, config.n_turns, f"08.turns at {site}")
        towards = [*towards[: config.n_turns], *((f, i, one.unit) for f, i, one in nulls)]
        for factor in FACTORS:
            angle = chord_degrees(abs(factor - 1))
            yield Step.at("length", "rescaled", 0, site, factor, ScaleState(factor))
            for family, draw, unit in towards:
                if family in ("own_plane", *TURNS):
                    yield Step.at("length", family, draw, site, factor, TurnBy(unit, angle))


def source_at(lab: Lab, site: Site, selection: Selection) -> Source:
    """The train states of the classes at another site, and their mean difference."""
    position = selection.direction.position or -1
    states = [p[:, 0, 0] for p in class_activations(lab, [site], [position], selection.prompts)]
    return Source(mean_difference(*states, site, position), *states)


def own_plane_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08b and 08c: additions, with and without the old length, and turns; then re-extractions."""
    site = site_of(selection)
    length = mean_norm(selection)
    again = reextracted(selection, config.n_reextractions, lab.rng("08.again"))
    for draw, direction in enumerate([selection.direction, *again]):
        for dose in DOSES:
            add = Add(dose * length * direction.unit)
            yield Step.at("adding", "plain", draw, site, dose, add)
            yield Step.at("adding", "kept", draw, site, dose, KeepNorm(add))
        for angle in turn(config.n_angles):
            yield Step.at("own", "turned", draw, site, angle, TurnTo(direction.unit, angle))


def turn(n: int) -> list[float]:
    """Evenly spaced angles of a full turn, in degrees."""
    return [360 * i / n for i in range(n)]


def fixed_plane_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08d: the plane, with the direction re-extracted too, and random planes of every family."""
    site, position = site_of(selection), selection.direction.position or -1
    streams = ("pre", "mid") if lab.model.info.has_mid else ("pre",)
    found = directions_of(lab, all_sites(lab.model.n_layers, streams), (position,), selection.prompts)
    units = torch.stack([one.unit for one in found.values()])
    again = reextracted(selection, config.n_reextractions, lab.rng("08.again"))
    means = selection.negative.mean(0)[None]
    planes_of = [planes.steering_plane(one.unit, units, means)
                 for one in (selection.direction, *again)]  # fmt: skip
    for draw, plane in enumerate(planes_of):
        for angle in turn(config.n_angles):
            edit = RotateTo(plane.b1, plane.b2, angle)
            yield Step.at("plane", "plane", draw, site, angle, edit)
    for draw, plane in random_planes(config, lab, planes_of[0], selection):
        for angle in turn(4):
            edit = RotateAsLong(plane, angle, planes_of[0])
            yield Step.at("plane", plane.family, draw, site, angle, edit)


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
    refusal = source_at(lab, later, selection)
    longer = ((ScaleState(LONGER), site),)
    yield Step("competition", "alone", 0, later, LONGER, longer)
    for draw, name in enumerate(OTHERS[: config.n_others]):
        other = other_direction(lab, name, later, refusal)
        for sign in (0, 1):
            added = (Add((-1) ** sign * mean_norm(refusal) * other), later)
            for dose, before in ((1.0, ()), (LONGER, longer)):
                number = 2 * draw + sign
                yield Step("competition", "added", number, later, dose, (*before, added))


def other_direction(
    lab: Lab, name: str, site: Site, refusal: Source
) -> Float[Tensor, " d_model"]:
    """Unit difference of a registered set's means, orthogonal to the refusal direction there."""
    found = lab.data(name)
    sides = [list(side)[:N_OTHERS] for side in (found.positive, found.negative)]
    states = lab.activations([*sides[0], *sides[1]], [site], [-1])[:, 0, 0]
    raw = mean_difference(*states.split([len(side) for side in sides]), site, -1)
    rest = ablate(refusal.direction.unit)(raw.unit)
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

    Columns: COLUMNS, set, prompt (id), value. The odds are those of a pair of rows: harmful prompt
    i, harmless prompt i.
    """
    parts = []
    for on in dict.fromkeys(SOME if step.part == "length" else ALL for step in steps):
        parts.append(_rows(meter, on, ("base", on, 0, "", 0.0), BASE))
    for step in meter.lab.progress(steps, "editing states"):
        on = SOME if step.part == "length" else ALL
        parts.append(_rows(meter, on, step.columns, step.edit))
    return pd.concat(parts, ignore_index=True)


def _rows(meter: Meter, on: str, columns: tuple[object, ...], edit: Edit) -> pd.DataFrame:
    texts = meter.prompts[on]
    ids = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in texts]
    sets = np.repeat(["harmful", "harmless"], len(texts) // 2)
    constants = dict(zip(COLUMNS, columns, strict=True))
    return pd.DataFrame({**constants, "set": sets, "prompt": ids, "value": meter.scores(on, edit).odds})


def text_damage(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """KL on text (nats per token) of the turns and plain additions of the direction itself."""
    wanted = [s for s in steps if s.family in ("turned", "plain") and s.draw == 0]
    found = [(*s.columns, meter.text(s.edit)["kl"].mean()) for s in meter.lab.progress(wanted, "text")]
    return pd.DataFrame(found, columns=[*COLUMNS, "kl"])


def answered(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """Class of the answers under every addition of the direction, both versions, and unedited."""
    wanted = [s for s in steps if s.part == "adding" and s.draw == 0]
    rows = []
    for on in ("harmful", "harmless") if meter.prompts["harmful"] else ():
        plan: list[tuple[str, float, Callable[[], Edit]]] = [("base", 0.0, lambda: BASE)]
        plan += [(s.family, s.dose, lambda s=s: s.edit) for s in wanted]
        for family, dose, edit in meter.lab.progress(plan, "answering"):
            rows += [(on, family, dose, answer) for answer in meter.answers(on, edit())]
    return pd.DataFrame(rows, columns=["set", "family", "dose", "answer"])
