"""The hand-set transformer refuses what it is built to refuse, by the axis that is planted."""

import pytest

from experiments.lab.planted_model import HARMFUL, Design, planted_lab, prompts_of
from experiments.lab.selection import select_direction
from interp.generation import answers
from interp.scores import classify, refusal_scores

OWN_AXES = Design(axes=(0, 1, 2, 3, 4), gains=(0.6,) * 5)


@pytest.fixture(scope="module")
def line():
    return planted_lab(Design())


def classes(lab, texts):
    return {classify(one) for one in answers(lab.model, lab.tokens(texts), max_new_tokens=12)}


def test_harmful_prompts_are_refused_and_harmless_ones_answered(line):
    assert classes(line, line.contrast.positive[:12]) == {"refused"}
    assert classes(line, line.contrast.negative[:12]) == {"complied"}


def test_without_strength_nothing_is_refused():
    lab = planted_lab(Design(strength=0.0))
    assert classes(lab, lab.contrast.positive[:12]) == {"complied"}


def test_states_vary_between_prompts_of_a_class(line):
    odds = refusal_scores(line.model, line.tokens(line.contrast.positive[:20])).opening_odds
    assert odds.min() > 3
    assert odds.std() > 0.1


@pytest.mark.parametrize("design", [Design(), OWN_AXES], ids=["one axis", "an axis for each layer"])
def test_the_planted_axis_is_what_selection_finds(design):
    selection = select_direction(planted_lab(design), n_prompts=8, n_train=20)
    assert selection.found
    assert selection.base_bypass - selection.chosen.bypass > 3
    directions = selection.candidates
    assert (directions.bypass < selection.base_bypass - 3).all()


def test_prompts_hold_one_topic_word_each(line):
    texts = prompts_of(HARMFUL, 10, line.rng("prompts"))
    assert all(sum(word in HARMFUL for word in text.split()) == 1 for text in texts)


def test_a_design_needs_a_gain_for_every_layer():
    with pytest.raises(ValueError, match="every layer"):
        Design(axes=(0, 0), gains=(0.0,))
