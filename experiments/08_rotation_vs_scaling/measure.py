"""The edits of experiment 08, and what else the model is asked. Of an answer its class is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd
import torch

from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Meter
from experiments.lab.passages import Passages
from experiments.lab.reextraction import reextracted
from experiments.lab.selection import Selection
from experiments.lab.sources import mean_norm, other_vector, site_of, source_at, steering_planes
from experiments.lab.steps import CLASSES, Step, at
from interp.directions import Direction
from interp.interventions import Add, RotateTo
from interp.planes import ScaleState, random_planes
from interp.sites import Site
from interp.turns import KeepNorm, RotateAsLong, TurnBy, TurnTo, chord_degrees, even_degrees

from .protocol import DEPTHS, DOSES, FACTORS, LONGER, TURNS, Config

ALL, SOME = "all", "some"  # harmful test prompts, then as many harmless ones; SOME for 08a
TEXT_TOKENS = 32
OTHERS = ("sentiment", "register", "persona", "syntax")


def meter_for(config: Config, lab: Lab) -> Meter:
    """Test prompts, and text."""

    def drawn(on: str, texts: Sequence[str], n: int) -> tuple[str, ...]:
        return tuple(texts[int(i)] for i in lab.rng(f"08.{on}").permutation(len(texts))[:n])

    texts = lab.harmful_test.texts, lab.harmless_test.texts
    n = min(config.n_test, *map(len, texts))
    classes = [drawn(on, part, n) for on, part in zip(CLASSES, texts, strict=True)]
    sets = {on: part[: config.n_answered] for on, part in zip(CLASSES, classes, strict=True)}
    for name, size in ((ALL, n), (SOME, config.n_length)):
        sets[name] = tuple(text for part in classes for text in part[:size])
    text = drawn("text", lab.text, config.n_text)
    return Meter(lab, sets, Passages(lab.model, text, TEXT_TOKENS))


def length_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08a: rescaled states and turns of the same chord; the last state, rescaled, as a control."""
    layers = lab.model.n_layers
    yield Step("length", "last", 0, LONGER, at(Site(layers - 1, "post"), ScaleState(LONGER)), SOME)
    for site in dict.fromkeys(Site(int(share * layers), "pre") for share in DEPTHS):
        source = source_at(lab, site, selection)
        own = [("own_plane", i, (-1) ** i * source.direction.unit) for i in range(2)]
        nulls = lab.nulls(source, config.n_turns, f"08.turns at {site}")
        turns = own[: config.n_turns] + [(f, i, one.unit) for f, i, one in nulls if f in TURNS]
        for factor in FACTORS:
            yield Step("length", "rescaled", 0, factor, at(site, ScaleState(factor)), SOME)
            for family, draw, unit in turns:
                edit = TurnBy(unit, chord_degrees(abs(factor - 1)))
                yield Step("length", family, draw, factor, at(site, edit), SOME)


def directions(config: Config, lab: Lab, selection: Selection) -> list[Direction]:
    """The direction, then re-extractions of it."""
    rng = lab.rng("08.again")
    return [selection.direction, *reextracted(selection, config.n_reextractions, rng)]


def own_plane_steps(config: Config, lab: Lab, selection: Selection) -> list[Step]:
    """08b and 08c: additions, with and without the old length, and turns."""
    site, length, steps = site_of(selection), mean_norm(selection), []
    for draw, direction in enumerate(directions(config, lab, selection)):
        for dose in DOSES:
            add = Add(dose * length * direction.unit)
            steps.append(Step("adding", "plain", draw, dose, at(site, add)))
            steps.append(Step("adding", "kept", draw, dose, at(site, KeepNorm(add))))
        for angle in even_degrees(config.n_angles):
            turned = at(site, TurnTo(direction.unit, angle))
            steps.append(Step("own", "turned", draw, angle, turned))
    return steps


def fixed_plane_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08d: the plane, with the direction re-extracted too, and random planes of every family."""
    site = site_of(selection)
    true = steering_planes(lab, selection, directions(config, lab, selection))
    for draw, plane in enumerate(true):
        for angle in even_degrees(config.n_angles):
            edit = RotateTo(plane.b1, plane.b2, angle)
            yield Step("plane", "plane", draw, angle, at(site, edit))
    states = torch.cat([selection.positive, selection.negative])
    seed = int(lab.rng("08.planes").integers(2**31))
    for i, plane in enumerate(random_planes(true[0], states, config.n_planes, seed)):
        for angle in even_degrees(config.n_angles):
            edit = RotateAsLong(plane, angle, true[0])
            yield Step("plane", plane.family, i % config.n_planes, angle, at(site, edit))


def competition_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08e: other behaviours added after the site, to states as they are and to longer ones."""
    site = site_of(selection)
    later = Site((site.layer + lab.model.n_layers) // 2, "pre")
    refusal, longer = source_at(lab, later, selection), at(site, ScaleState(LONGER))
    yield Step("competition", "alone", 0, LONGER, longer)
    for i, name in enumerate(OTHERS[: config.n_others]):
        other = other_vector(lab, name, refusal)
        for draw, vector in ((2 * i, other), (2 * i + 1, -other)):
            step = Step("competition", "added", draw, 1.0, at(later, Add(vector)))
            yield step
            yield replace(step, dose=LONGER, written=longer + step.written)


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
