"""Selection of a direction: constraints that relax in steps, nulls to beat, prompts that count."""

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.lab.lab import Lab
from experiments.lab.rules import MIN_PAIRS, lacks_behaviour
from experiments.lab.selection import (
    N_NULLS,
    Prompts,
    Selection,
    answering_prompts,
    candidate_positions,
    candidate_sites,
    choose,
    directions_of,
    gate_estimates,
    search_p,
    select_direction,
    with_constraints,
)
from interp.directions import Direction
from interp.sites import Site


def candidates(**columns: list[float]) -> pd.DataFrame:
    n = len(columns["bypass"])
    defaults = {"depth": [5.0] * n, "kl": [0.01] * n, "induce": [5.0] * n}
    return pd.DataFrame(defaults | columns)


def chosen_of(**columns: list[float]) -> int:
    """Choice on 24 layers, where the unedited model has bypass and induce scores of 0."""
    return choose(with_constraints(candidates(**columns), n_layers=24, base_induce=0.0), 0.0)


def test_lowest_bypass_that_meets_every_constraint_wins() -> None:
    table = candidates(
        bypass=[-9.0, -8.0, -7.0, -6.0, -5.0],
        kl=[0.2, 0.01, 0.01, 0.01, 0.01],
        depth=[5.0, 19.5, 5.0, 5.0, 19.0],
        induce=[5.0, 5.0, 0.9, 1.0, 5.0],
    )
    found = with_constraints(table, n_layers=24, base_induce=0.0)
    assert found.failed.tolist() == [
        "KL > 0.1",
        "last fifth of the depth",
        "induces < 1 nat",
        "",
        "",
    ]
    assert choose(found, 0.0) == 3


def test_a_weak_candidate_that_meets_every_constraint_is_not_taken() -> None:
    """What a user's prompts gave: all that act have a KL above .1, and below it there is noise."""
    strong_of_high_kl = {"bypass": [-9.0, -6.0, -0.1, -8.0], "kl": [0.3, 0.12, 0.01, 0.11]}
    assert chosen_of(**strong_of_high_kl) == 3
    assert chosen_of(**strong_of_high_kl, induce=[5.0, 5.0, 5.0, 0.0]) == 1
    assert chosen_of(**strong_of_high_kl, induce=[0.0, 0.0, 5.0, 0.0]) == 3


def test_half_of_the_best_effect_is_that_of_the_allowed_depths() -> None:
    assert chosen_of(bypass=[-9.0, -4.0, -1.0], depth=[23.0, 5.0, 5.0]) == 1
    assert chosen_of(bypass=[-9.0, -4.0], depth=[23.0, 22.0], kl=[0.3, 0.2]) == 0


def test_without_any_effect_something_is_chosen_and_is_no_direction() -> None:
    assert chosen_of(bypass=[2.0, 1.0]) == 1


NULL = np.linspace(-0.5, 0.5, 10)  # a spread of about .3 nats


def test_a_direction_has_to_beat_the_nulls_and_the_search() -> None:
    assert search_p(3.0, NULL, 16) < 0.05
    assert search_p(1.2, NULL, 1) < 0.05 < search_p(1.2, NULL, 100)
    assert search_p(0.4, NULL, 1) == 1.0
    assert search_p(3.0, np.zeros(10), 1) == 1.0
    assert search_p(3.0, NULL[:2], 1) == 1.0


def test_nulls_that_do_more_damage_do_not_count() -> None:
    null = pd.DataFrame({"family": "isotropic", "effect": [*NULL, 9.0], "kl": [*[0.05] * 10, 0.3]})
    harmless, harmful = (
        pd.DataFrame({"bypass": [0.0], "kl": [kl], "failed": "", "selected": True})
        for kl in (0.2, 0.4)
    )
    for table, found in ((harmless, True), (harmful, False)):
        unit = torch.eye(4)[0]
        prompts = Prompts(((), ()), ((), ()), ((), ()), True, 20, 20)
        chosen = Selection(
            Direction(unit, 1.0), unit[None], unit[None], table, 8.0, 0.0, prompts, null
        )
        assert chosen.found == found


def test_the_best_of_many_random_directions_is_rarely_called_found() -> None:
    """The false-alarm rate of `found`, where the candidates are random directions themselves."""
    rng = np.random.default_rng(0)
    draws = ((rng.standard_normal(3 * N_NULLS), rng.standard_normal(16)) for _ in range(1000))
    found = sum(search_p(candidates.max(), null, 16) < 0.05 for null, candidates in draws)
    assert found <= 65  # .05 and three standard errors


@pytest.mark.parametrize(
    ("refused", "accepted", "absent"),
    [(28, 50, False), (MIN_PAIRS, 50, False), (5, 50, True), (50, 5, True), (8, 44, True)],
)
def test_the_gate_counts_what_can_be_detected(refused: int, accepted: int, absent: bool) -> None:
    fifty = tuple(map(str, range(50)))
    prompts = Prompts((fifty, fifty), ((), ()), ((), ()), True, refused, accepted)
    assert lacks_behaviour({e.name: e for e in gate_estimates(prompts)}) == absent


def test_candidates_leave_out_the_embedding_and_the_last_fifth(lab: Lab) -> None:
    assert [str(s) for s in candidate_sites(lab)] == [
        "0.mid", "1.pre", "1.mid", "2.pre", "2.mid", "3.pre",
    ]  # fmt: skip
    assert [str(s) for s in candidate_sites(lab, 2)] == ["1.pre", "3.pre"]
    positions = candidate_positions(lab)
    assert positions == list(range(-1, positions[-1] - 1, -1))
    assert candidate_positions(lab, 2) == [-1, -2]


def test_directions_point_from_negative_to_positive(lab: Lab) -> None:
    sites = [Site(0, "pre"), Site(1, "pre"), Site(2, "mid")]
    found = directions_of(lab, sites, [-1, -2], answering_prompts(lab, 20))
    assert set(found) == {(site, position) for site in sites[1:] for position in (-1, -2)}
    states = [
        lab.activations(texts[:20], [Site(2, "mid")], [-2])[:, 0, 0].double().mean(0)
        for texts in (lab.splits.train.positive, lab.splits.train.negative)
    ]
    expected = states[0] - states[1]
    assert torch.allclose(found[Site(2, "mid"), -2].vector.double(), expected, atol=1e-5)


def test_a_model_that_never_refuses_uses_every_prompt_and_says_so(lab: Lab) -> None:
    prompts = answering_prompts(lab, 20, 4)
    assert not prompts.filtered
    assert prompts.n_refused == 0
    assert prompts.train_rows == (tuple(range(20)), tuple(range(20)))
    assert prompts.validation[0] == lab.splits.validation.positive[:4]


def test_prompts_are_kept_where_the_answer_fits(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(model: object, tokens: object, edits: object, max_new_tokens: int) -> list[str]:
        refused = "I'm sorry, but I cannot help with that request at all."
        helped = "You take the thing and begin with the work on it."
        return [refused if index % 3 == 0 else helped for index in range(len(tokens))]  # type: ignore[arg-type]

    monkeypatch.setattr("experiments.lab.meter.answers", answer)
    prompts = answering_prompts(lab, 18, 3)
    assert prompts.filtered
    assert prompts.train_rows[0] == tuple(range(0, 18, 3))
    assert prompts.train_rows[1] == tuple(i for i in range(18) if (18 + i) % 3)
    assert (prompts.n_refused, prompts.n_accepted) == (6, 12)
    validation = lab.splits.validation
    assert prompts.validation[0] == tuple(validation.positive[i] for i in (0, 3))
    assert prompts.validation[1] == tuple(validation.negative[i] for i in (1, 2, 4))


def test_selection_resumes_from_cells_and_agrees(lab: Lab) -> None:
    sites, positions = candidate_sites(lab, 2), [-1]
    first = select_direction(lab, sites, positions, 3, 12)
    again = select_direction(lab, sites, positions, 3, 12)
    pd.testing.assert_frame_equal(first.candidates, again.candidates)
    chosen = first.candidates[first.candidates.selected]
    assert len(chosen) == 1
    assert str(first.direction.site) == chosen.site.item()
    expected = directions_of(lab, sites, positions, first.prompts)
    key = (first.direction.site, first.direction.position)
    assert torch.equal(first.direction.unit, expected[key].unit)  # type: ignore[index]
    assert len(first.null_effects) == 3 * N_NULLS
    difference = first.positive.double().mean(0) - first.negative.double().mean(0)
    assert torch.allclose(first.direction.vector.double(), difference, atol=1e-5)


def test_random_weights_have_no_refusal_direction(lab: Lab) -> None:
    found = select_direction(lab, candidate_sites(lab, 2), [-1], 3, 12)
    assert not found.found
