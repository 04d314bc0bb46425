"""`--behaviour`: other behaviours than refusal in every experiment, from a name or a file."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from experiments.command.main import main
from experiments.harness.labs import load_data, on_its_own_split
from experiments.harness.registry import find_experiment
from experiments.harness.run import RunOptions, own_label, request
from experiments.lab.lab import Lab
from experiments.lab.planted_model import Design, planted_lab
from experiments.lab.results import RunInfo, words_for
from experiments.lab.selection import answering_prompts
from interp.behaviours import Behaviour
from interp.data.prompt_sets import contrast
from interp.errors import ExperimentError
from interp.scores import REFUSAL_OPENINGS


@pytest.fixture
def mood(tmp_path: Path, made_up_prompts) -> Path:
    """A behaviour of the user's own."""
    for name in ("positive", "negative"):
        (tmp_path / f"{name}.txt").write_text("\n".join(getattr(made_up_prompts, name)))
    file = tmp_path / "mood.yaml"
    file.write_text(
        "positive: positive.txt\nnegative: negative.txt\nframe: '{prompt}. It was'\n"
        "shows: [' a']\nothers: [' b']\nstyle: none\n"
    )
    return file


def test_a_behaviour_of_ones_own_is_run_and_found_again(
    mood, experiments_folder, tmp_path, monkeypatch, capsys
) -> None:
    out = tmp_path / "out"
    words = ["run", "91", "--preset", "smoke", "--out", str(out), "--behaviour", str(mood)]
    assert main(words, experiments_folder) == 0
    saved = json.loads((out / "smoke" / "tiny-random-mood" / "91_norms/result.json").read_text())
    assert (saved["behaviour"], saved["style"]) == ("mood", "none")
    assert saved["data"][0]["name"] == "mood as asked"
    assert saved["observation"].startswith("mood: 'harmful' is what shows it, 'refused' an answer")
    asked = request("91", "tiny-random", "smoke", None, behaviour=mood, out=out,
                    folder=experiments_folder)  # fmt: skip
    assert asked.saved() is not None
    monkeypatch.setattr("interp.models.load", lambda *_, **__: pytest.fail("loaded"))
    assert main(words, experiments_folder) == 0
    mood.write_text(mood.read_text().replace("' b'", "' c'"))
    assert asked.saved() is None


def test_a_style_that_is_given_wins_over_the_behaviours_own(
    mood, experiments_folder, tmp_path
) -> None:
    words = ["run", "91", "--preset", "smoke", "--out", str(tmp_path), "--behaviour", str(mood)]
    assert main([*words, "--style", "newline"], experiments_folder) == 0
    saved = json.loads((tmp_path / "smoke/tiny-random-mood/91_norms/result.json").read_text())
    assert saved["style"] == "newline"


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, ""),
        ({"behaviour": "sentiment"}, "sentiment"),
        ({"behaviour": "mine/mood.yaml"}, "mood"),
        ({"behaviour": "mine/sentiment.yaml"}, "sentiment-own"),
        ({"behaviour": "refusal.yml"}, "refusal-own"),
        ({"positive": Path("x/A.txt"), "negative": Path("B.txt")}, "A-B"),
        ({"positive": Path("x/A.txt"), "negative": Path("C.txt")}, "A-C"),
    ],
)
def test_results_of_other_prompts_are_filed_apart(options, label) -> None:
    assert own_label(RunOptions(**options)) == label


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--behaviour", "sentimnt"], "did you mean 'sentiment'?"),
        (["--behaviour", "none.yaml"], "none.yaml"),
        (["--behaviour", "persona", "--positive", "a.txt", "--negative", "b.txt"], "of its own"),
    ],
)
def test_what_is_no_behaviour_is_one_clear_error(
    flags, message, experiments_folder, capsys
) -> None:
    assert main(["run", "91", "--preset", "smoke", *flags], experiments_folder) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert message in line


def test_refusal_has_test_sets_of_its_own_and_others_their_test_split(mood, made_up_data) -> None:
    assert load_data() is made_up_data
    own = load_data(str(mood))
    assert own.behaviour.shows == (" a",)
    harmful, harmless = own.harmful_test(0), own.harmless_test(0)
    assert set(harmful.texts) < set(own.contrast.positive)
    assert set(harmless.texts) < set(own.contrast.negative)
    assert own.holds("mood as asked", own.contrast.sha256, 0)


def on(lab: Lab, behaviour: Behaviour) -> Lab:
    source = on_its_own_split(behaviour)
    return Lab(
        model=lab.model, studied=source.behaviour, harmful_test=source.harmful_test(0),
        harmless_test=source.harmless_test(0), text=lab.harmless_test,
    )  # fmt: skip


def test_where_a_planted_behaviour_is_scored_by_openings_prompts_are_kept_by_the_score() -> None:
    """In a planted model the score is above 0 just where the answer is a refusal."""
    refusal = planted_lab(Design())
    shows, others = REFUSAL_OPENINGS[-1:], ("Sure",)
    other = Behaviour("declining", refusal.contrast, shows, others)
    kept = [answering_prompts(one, 20, 4) for one in (refusal, on(refusal, other))]
    assert kept[0].n_refused == kept[1].n_refused == kept[1].n_accepted == 20
    assert kept[0].filtered and kept[1].filtered


def test_a_choice_has_no_prompts_that_show_it() -> None:
    lab = planted_lab(Design())
    pairs = contrast("choice", ["Yes or no? yes"] * 20, ["Yes or no? no"] * 20, "", paired=True)
    choice = Behaviour("agreeing", pairs, choice=True, style="none")
    with pytest.raises(ExperimentError, match="agreeing is a choice"):
        answering_prompts(lab.on(choice))


@pytest.mark.parametrize("number", ["07", "10", "11", "12", "13"])
def test_experiments_that_are_about_refusal_say_so(number) -> None:
    refusal = planted_lab(Design())
    lab = refusal.on(Behaviour("declining", refusal.contrast, ("I",), ("Sure",)))
    experiment = find_experiment(number)
    with pytest.raises(ExperimentError, match="so not declining"):
        experiment.run(experiment.preset("smoke"), lab)
    assert refusal.behaviour("refusal") is refusal.studied


def test_a_lab_has_one_behaviour() -> None:
    lab = planted_lab(Design())
    given = {"model": lab.model, "harmful_test": lab.harmful_test,
             "harmless_test": lab.harmless_test, "text": lab.harmless_test}  # fmt: skip
    for both in ({}, {"contrast": lab.contrast, "studied": lab.studied}):
        with pytest.raises(ExperimentError, match="and not both"):
            Lab(**given, **both)


def test_the_words_of_refusal_are_explained_elsewhere_alone() -> None:
    def run(behaviour: str, *claims: str) -> RunInfo:
        return cast(RunInfo, SimpleNamespace(behaviour=behaviour, claims=claims))

    assert words_for(run("refusal", "05a")) == words_for(run("mood")) == ""
    assert words_for(run("mood", "05a")).startswith("mood: 'harmful'")
