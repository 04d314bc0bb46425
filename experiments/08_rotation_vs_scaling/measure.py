"""The edits of experiment 08, and what else the model is asked. Of an answer its class is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from experiments.lab import sources
from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Meter
from experiments.lab.passages import Passages
from experiments.lab.reextraction import reextracted
from experiments.lab.selection import Selection, Source
from experiments.lab.steps import CLASSES, Step, at
from interp.directions import Direction
from interp.interventions import Add, Intervention, Placement, RotateTo
from interp.planes import ScaleState, random_planes
from interp.sites import Site
from interp.turns import (
    KeepNorm,
    RotateAsLong,
    Sparing,
    TurnBy,
    TurnTo,
    chord_degrees,
    even_degrees,
)  # fmt: skip

from .protocol import (
    COMPETITOR,
    DEPTHS,
    DOSES,
    FACTORS,
    LONGER,
    MAX_SITE,
    QUARTERS,
    SINK,
    TURNS,
    Config,
)  # fmt: skip

TEXT_TOKENS = 32
OTHERS = ("sentiment", "register", "persona", "syntax")


def meter_for(config: Config, lab: Lab) -> Meter:
    """Test prompts, and text; the set "all" has harmful ones, then as many harmless ones."""

    def drawn(on: str, texts: Sequence[str], n: int) -> tuple[str, ...]:
        return tuple(texts[int(i)] for i in lab.rng(f"08.{on}").permutation(len(texts))[:n])

    texts = lab.harmful_test.texts, lab.harmless_test.texts
    n = min(config.n_test, *map(len, texts))
    classes = [drawn(on, part, n) for on, part in zip(CLASSES, texts, strict=True)]
    sets = {on: part[: config.n_answered] for on, part in zip(CLASSES, classes, strict=True)}
    sets["all"] = tuple(text for part in classes for text in part)
    text = drawn("text", lab.text, config.n_text)
    return Meter(lab, sets, Passages(lab.model, text, TEXT_TOKENS))


def steered(lab: Lab, selection: Selection) -> Source:
    """The selected direction; where it is from deeper than MAX_SITE, the one from there."""
    deepest = Site(int(MAX_SITE * lab.model.n_layers), "pre")
    late = sources.site_of(selection).depth > deepest.depth
    return sources.source_at(lab, deepest, selection) if late else selection


def sparing(source: Source, edit: Intervention) -> tuple[Placement]:
    """An edit at the source's site, of all states but attention sinks."""
    longest = SINK * sources.median_norm(source)
    return at(sources.site_of(source), Sparing(edit, longest))


def length_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08a: rescaled states and turns of the same chord; the last state, rescaled, as a control."""
    layers = lab.model.n_layers
    yield Step("length", "last", 0, LONGER, at(Site(layers - 1, "post"), ScaleState(LONGER)))
    for site in dict.fromkeys(Site(int(share * layers), "pre") for share in DEPTHS):
        source = sources.source_at(lab, site, selection)
        turns = [t for t in lab.nulls(source, config.n_turns, f"08.turns at {site}")
                 if t[0] in TURNS]  # fmt: skip
        for factor in FACTORS:
            rescaled = sparing(source, ScaleState(factor))
            yield Step("length", "rescaled", 0, factor, rescaled)
            for family, draw, one in turns:
                edit = TurnBy(one.unit, chord_degrees(abs(factor - 1)))
                yield Step("length", family, draw, factor, sparing(source, edit))


def directions(config: Config, lab: Lab, source: Source) -> list[Direction]:
    """The direction, then re-extractions of it."""
    return [source.direction, *reextracted(source, config.n_reextractions, lab.rng("08.again"))]


def adding_steps(config: Config, lab: Lab, source: Source) -> Iterator[Step]:
    """08b: additions, with and without the old length."""
    length = sources.median_norm(source)
    for draw, direction in enumerate(directions(config, lab, source)):
        for dose in DOSES:
            add = Add(dose * length * direction.unit)
            yield Step("adding", "plain", draw, dose, sparing(source, add))
            yield Step("adding", "kept", draw, dose, sparing(source, KeepNorm(add)))


def own_plane_steps(config: Config, source: Source) -> Iterator[Step]:
    """Turns of each state in its own plane, which are only shown."""
    for angle in even_degrees(config.n_angles):
        turned = sparing(source, TurnTo(source.direction.unit, angle))
        yield Step("own", "turned", 0, angle, turned)


def fixed_plane_steps(
    config: Config, lab: Lab, selection: Selection, source: Source
) -> Iterator[Step]:
    """08c, 08d: the plane, with the direction re-extracted too, and random planes."""
    true = sources.steering_planes(lab, selection, source, directions(config, lab, source))
    for draw, plane in enumerate(true):
        for angle in even_degrees(config.n_angles):
            turned = sparing(source, RotateTo(plane.b1, plane.b2, angle))
            yield Step("plane", "plane", draw, angle, turned)
    seed, states = int(lab.rng("08.planes").integers(2**31)), sources.states_of(source)
    for i, plane in enumerate(random_planes(true[0], states, config.n_planes, seed)):
        for angle in QUARTERS:
            turned = sparing(source, RotateAsLong(plane, angle, true[0]))
            yield Step("plane", plane.family, i % config.n_planes, angle, turned)


def competition_steps(
    config: Config, lab: Lab, selection: Selection, source: Source
) -> Iterator[Step]:
    """08e: other behaviours added after the site, to states as they are and to longer ones."""
    later = Site((sources.site_of(source).layer + lab.model.n_layers) // 2, "pre")
    refusal, longer = (
        sources.source_at(lab, later, selection),
        sparing(source, ScaleState(LONGER)),
    )
    yield Step("competition", "alone", 0, LONGER, longer)
    length = COMPETITOR * sources.median_norm(refusal)
    for i, name in enumerate(OTHERS[: config.n_others]):
        other = length * sources.other_vector(lab, name, refusal)
        for draw, vector in ((2 * i, other), (2 * i + 1, -other)):
            step = Step("competition", "added", draw, 1.0, sparing(refusal, Add(vector)))
            yield step
            yield replace(step, dose=LONGER, written=longer + step.written)


def text_damage(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """KL on text (nats per token) of the turns in the plane itself. Columns: angle, kl."""
    turns = [step for step in steps if step.family == "plane" and step.draw == 0]
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
