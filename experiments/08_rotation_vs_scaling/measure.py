"""The edits of experiment 08, and the prompts that they are measured on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from experiments.lab import sources
from experiments.lab.lab import Lab
from experiments.lab.meter import Meter
from experiments.lab.passages import Passages
from experiments.lab.reextraction import reextracted
from experiments.lab.selection import Selection, Source
from experiments.lab.steps import CLASSES, Step, at
from interp import planes, turns
from interp.directions import Direction
from interp.interventions import Add, Intervention, Placement, RotateTo
from interp.sites import Site

from . import protocol
from .protocol import Config

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
    sets["all"] = (*classes[0], *classes[1])
    text = drawn("text", lab.text, config.n_text)
    return Meter(lab, sets, Passages(lab.model, text, TEXT_TOKENS))


def sparing(source: Source, edit: Intervention) -> tuple[Placement]:
    """An edit at the source's site, of all states but attention sinks."""
    return sources.sparing(source, edit, protocol.SINK)


def length_steps(config: Config, lab: Lab, selection: Selection) -> Iterator[Step]:
    """08a: rescaled states and turns of the same chord; the last state, rescaled, as a control."""
    layers, longer = lab.model.n_layers, planes.ScaleState(protocol.LONGER)
    yield Step("length", "last", 0, protocol.LONGER, at(Site(layers - 1, "post"), longer))
    for site in dict.fromkeys(Site(int(share * layers), "pre") for share in protocol.DEPTHS):
        source = sources.source_at(lab, site, selection)
        nulls = lab.nulls(source, config.n_turns, f"08.turns at {site}")
        for factor in protocol.FACTORS:
            rescaled = sparing(source, planes.ScaleState(factor))
            yield Step("length", "rescaled", 0, factor, rescaled)
            for family, draw, one in (null for null in nulls if null[0] in protocol.TURNS):
                edit = turns.TurnBy(one.unit, turns.chord_degrees(abs(factor - 1)))
                yield Step("length", family, draw, factor, sparing(source, edit))


def directions(config: Config, lab: Lab, source: Source) -> list[Direction]:
    """The direction, then re-extractions of it."""
    return [source.direction, *reextracted(source, config.n_reextractions, lab.rng("08.again"))]


def adding_steps(config: Config, lab: Lab, source: Source) -> Iterator[Step]:
    """08b: additions, with and without the old length."""
    length = sources.median_norm(source)
    for draw, direction in enumerate(directions(config, lab, source)):
        for dose in protocol.DOSES:
            add = Add(dose * length * direction.unit)
            yield Step("adding", "plain", draw, dose, sparing(source, add))
            yield Step("adding", "kept", draw, dose, sparing(source, turns.KeepNorm(add)))


def own_plane_steps(config: Config, source: Source) -> Iterator[Step]:
    """Turns of each state in its own plane, which are only shown."""
    for angle in turns.even_degrees(config.n_angles):
        turned = sparing(source, turns.TurnTo(source.direction.unit, angle))
        yield Step("own", "turned", 0, angle, turned)


def fixed_plane_steps(
    config: Config, lab: Lab, selection: Selection, source: Source
) -> Iterator[Step]:
    """08c, 08d: the plane, with the direction re-extracted too, and random planes."""
    true = sources.steering_planes(lab, selection, source, directions(config, lab, source))
    for draw, plane in enumerate(true):
        for angle in turns.even_degrees(config.n_angles):
            turned = sparing(source, RotateTo(plane.b1, plane.b2, angle))
            yield Step("plane", "plane", draw, angle, turned)
    seed, states = int(lab.rng("08.planes").integers(2**31)), sources.states_of(source)
    for i, plane in enumerate(planes.random_planes(true[0], states, config.n_planes, seed)):
        for angle in protocol.QUARTERS:
            turned = sparing(source, turns.RotateAsLong(plane, angle, true[0]))
            yield Step("plane", plane.family, i % config.n_planes, angle, turned)


def competition_steps(
    config: Config, lab: Lab, selection: Selection, source: Source
) -> Iterator[Step]:
    """08e: other behaviours added after the site, to states as they are and to longer ones."""
    later = Site((sources.site_of(source).layer + lab.model.n_layers) // 2, "pre")
    refusal = sources.source_at(lab, later, selection)
    longer = sparing(source, planes.ScaleState(protocol.LONGER))
    yield Step("competition", "alone", 0, protocol.LONGER, longer)
    length = protocol.COMPETITOR * sources.median_norm(refusal)
    others = [name for name in OTHERS if name != lab.studied.name]
    for i, name in enumerate(others[: config.n_others]):
        other = length * sources.other_vector(lab, name, refusal)
        for draw, vector in ((2 * i, other), (2 * i + 1, -other)):
            step = Step("competition", "added", draw, 1.0, sparing(refusal, Add(vector)))
            yield step
            yield replace(step, dose=protocol.LONGER, written=longer + step.written)
