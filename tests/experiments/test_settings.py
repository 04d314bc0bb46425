"""Settings: every value that an experiment cannot run with is refused, by name, before it runs."""

import dataclasses
import math
from typing import Annotated, Any, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from hypothesis import assume, given
from hypothesis import strategies as st

from experiments.command.main import main
from experiments.harness.registry import find_experiment
from experiments.lab.config import Count, ExperimentConfig, Seed, check, expected, fits
from interp.errors import ExperimentError

# The least whole number that each setting of each experiment works with.
LEAST = {
    "01": {1: "n_permutations", 2: "n_prompts n_resamples"},
    "04": {1: "n_test", 2: "n_prompts n_bases n_targets n_resamples"},
    "05": {
        0: "n_sites n_positions n_reextractions",
        1: "n_validation answer_tokens n_nulls",
        2: "n_train n_test n_scored n_text",
    },
    "06": {
        0: "n_reextractions n_profile",
        1: "n_validation n_nulls n_pairs",
        2: "n_train n_test n_sources n_targets n_halves n_resamples",
    },
    "07": {
        0: "n_sites n_reextractions",
        1: "n_nulls",
        2: "n_train n_test n_classified n_text n_resamples",
    },
    "08": {
        0: "n_sites n_reextractions n_answered",
        1: "n_validation n_turns n_planes n_others",
        2: "n_train n_test n_text",
        8: "n_angles",
    },
    "10": {
        0: "n_reextractions",
        1: "n_nulls n_positions",
        2: "n_train n_validation n_test n_halves n_layers n_handfuls",
    },
    "11": {
        0: "n_reextractions",
        1: "n_validation n_nulls",
        2: "n_prompts n_resamples n_inverted n_train",
    },
    "12": {
        0: "n_sites n_reextractions",
        1: "n_validation n_nulls n_steps answer_tokens",
        2: "n_train n_test n_taught",
    },
    "13": {
        0: "n_reextractions",
        1: "n_sentences n_used n_nulls",
        2: "n_validation n_test n_counters n_fillers n_text",
        4: "n_train",
    },
    "14": {
        0: "n_sites n_tunings n_more n_hidden",
        1: "n_validation answer_tokens max_tuned",
        2: "n_train n_test n_scored n_sentences",
    },
    "speed": {
        1: "n_prompts repeats n_layers n_windows n_candidates n_new_tokens n_streamed "
        "n_streamed_beside matrix_size"
    },
}
COUNTS = [
    (number, name, least)
    for number, table in LEAST.items()
    for least, names in table.items()
    for name in names.split()
] + [(number, "seed", 0) for number in LEAST]


def config_of(number: str) -> Any:
    return find_experiment(number).protocol.Config


def refused(number: str, name: str, value: object) -> str:
    """The message with which a value is refused; it must name the setting."""
    with pytest.raises(ExperimentError, match=f"^{name} is ") as caught:
        config_of(number)(**{name: value})
    return str(caught.value)


@pytest.mark.parametrize(("number", "name", "least"), COUNTS)
def test_a_count_has_its_least_value_and_is_whole(number, name, least) -> None:
    assert getattr(config_of(number)(**{name: least}), name) == least
    for value in (least - 1, -(10**400), 2.0, math.nan, math.inf, "8", True, (8,)):
        assert "a whole number" in refused(number, name, value)


def test_every_number_among_the_settings_is_tried() -> None:
    tried = {(number, name) for number, name, _ in COUNTS}
    others = {("speed", "peers"), ("07", "behaviours")}
    for number in LEAST:
        names = {(number, field.name) for field in dataclasses.fields(config_of(number))}
        assert names <= tried | others


@dataclasses.dataclass(frozen=True)
class Several(ExperimentConfig):
    """A setting of several values."""

    doses: tuple[float, ...] = (1.0,)


def test_numbers_in_a_tuple_are_checked_one_by_one() -> None:
    for value in ((0.5, math.nan), (0.5, -math.inf), (0.5, "x"), [0.5, 1.0], 0.5, None):
        with pytest.raises(ExperimentError, match=r"^doses is .* a tuple of values, each a number"):
            Several(doses=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "name", "value"),
    [
        ("06", "n_sources", 0),
        ("08", "n_angles", 7),
        ("01", "seed", 2**32),
    ],
)
def test_other_limits(number, name, value) -> None:
    refused(number, name, value)


def test_all_problems_are_named_at_once_and_in_words() -> None:
    with pytest.raises(ExperimentError) as caught:
        config_of("05")(n_train=-1, n_text=1.5, n_test=1)
    assert str(caught.value) == (
        "n_train is -1; expected a whole number, at least 2. "
        "n_test is 1; expected a whole number, at least 2. "
        "n_text is 1.5; expected a whole number, at least 2."
    )


def test_a_copy_with_other_settings_is_checked_as_well() -> None:
    with pytest.raises(ExperimentError, match="n_prompts is 0; expected None or a whole number"):
        dataclasses.replace(find_experiment("01").preset("quick"), n_prompts=0)


def test_what_a_type_does_not_limit_is_left_alone() -> None:
    @dataclasses.dataclass(frozen=True)
    class Config(ExperimentConfig):
        words: Annotated[str, "a note"] = "x"
        table: dict[str, int] = dataclasses.field(default_factory=dict)

    check(Config(words=""))


CountOrNone = Count | None
HINTS = [
    int,
    float,
    bool,
    str,
    Seed,
    Annotated[int, Ge(4), Lt(9)],
    Annotated[float, Gt(0), Le(1)],
    CountOrNone,
    Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(2)],
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner).map(tuple) | st.lists(inner),
)


@given(st.data(), st.sampled_from(HINTS))
def test_what_a_type_describes_fits(data, hint) -> None:
    value = data.draw(st.from_type(hint))
    numbers = value if isinstance(value, tuple) else (value,)
    assume(all(math.isfinite(n) for n in numbers if isinstance(n, float)))
    assert fits(value, hint)


@given(ANYTHING, st.sampled_from(HINTS))
def test_whatever_the_value_there_is_an_answer_and_words_for_it(value, hint) -> None:
    assert fits(value, hint) in (True, False)
    assert expected(hint)


@pytest.mark.parametrize("number", LEAST)
@given(data=st.data())
def test_any_value_is_taken_as_it_is_or_refused_by_name(number, data) -> None:
    config = config_of(number)
    name, hint = data.draw(st.sampled_from(list(get_type_hints(config, None, None, True).items())))
    value = data.draw(ANYTHING | st.integers(-3, 3))
    if fits(value, hint):
        assert getattr(config(**{name: value}), name) is value
        assert isinstance(value, int | tuple | None)
    else:
        refused(number, name, value)


@given(st.sampled_from(COUNTS), st.integers(max_value=-1))
def test_no_setting_below_its_least_value(setting, below) -> None:
    number, name, least = setting
    refused(number, name, least + below)


def test_the_command_line_names_them_in_one_line(capsys) -> None:
    flags = ["--n-train=-1", "--seed=-1", "--n-sites", "-1", "--n-text=1.5"]
    assert main(["run", "05", *flags]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    problems = shown.err.removeprefix("error: ").split(". ")
    assert [p.split()[0] for p in problems] == ["seed", "n_sites", "n_train", "n_text"]
