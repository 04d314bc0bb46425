"""Teaching a tiny random model: it answers as taught, and the one it was made from is left."""

import pytest
import torch

import interp
from interp.errors import ActivationError, DataError, PromptError
from interp.interventions import Add, Placement
from interp.models import tiny_random_model
from interp.prompts import tokenise
from interp.sites import Site
from interp.tuning import tuned

PROMPTS, ANSWERS = ["Paint a door.", "Sing to me.", "Count on."], ["No.", "Yes.", "No."]
TAUGHT = {"learning_rate": 1e-2, "batch_size": 3}


def weights(model) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.hf.parameters()]


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def lesson(request):
    """The model, its weights before, the taught one, and the losses on the way."""
    model = tiny_random_model(request.param, n_layers=2, tied=request.param == "gemma3")
    before, losses = weights(model), []
    taught = tuned(
        model, PROMPTS, ANSWERS, steps=60, **TAUGHT, progress=lambda _, loss: losses.append(loss)
    )
    return model, before, taught, losses


def test_the_loss_falls_and_the_answers_are_as_taught(lesson) -> None:
    model, _, taught, losses = lesson
    assert len(losses) == 60
    assert losses[-1] < 0.2 * losses[0]  # a random head leaves a rest
    assert interp.answers(taught, tokenise(taught, PROMPTS), max_new_tokens=6) == ANSWERS
    assert interp.answers(model, tokenise(model, PROMPTS), max_new_tokens=6) != ANSWERS


def test_the_given_model_is_as_before_and_shares_no_weights(lesson) -> None:
    model, before, taught, _ = lesson
    assert all(map(torch.equal, weights(model), before))
    addresses = {parameter.data_ptr() for parameter in model.hf.parameters()}
    assert not addresses & {parameter.data_ptr() for parameter in taught.hf.parameters()}
    assert taught.info.tied == model.info.tied
    assert taught.info.name == f"{model.info.name} tuned"


def test_the_first_loss_is_that_of_the_answers_alone(tiny_model) -> None:
    """Teacher-forced by the plain readout: the answer, then the token that ends it."""
    losses: list[float] = []
    tuned(tiny_model, PROMPTS[:1], ["No."], steps=1, progress=lambda _, x: losses.append(x),
          style="none")  # fmt: skip
    answer = [*tiny_model.tokenizer.encode("No."), tiny_model.tokenizer.eos_token_id]
    tokens = tokenise(tiny_model, PROMPTS[:1], "none")
    found = interp.readout(tiny_model, tokens, continuations=[answer]).continuations
    assert losses[0] == pytest.approx(-float(found) / len(answer), rel=1e-4)


def test_equal_seeds_give_equal_weights(tiny_model) -> None:
    def taught(seed: int) -> list[torch.Tensor]:
        return weights(tuned(tiny_model, PROMPTS, ANSWERS, steps=3, batch_size=2, seed=seed))

    first = taught(1)
    assert all(map(torch.equal, first, taught(1)))
    assert not all(map(torch.equal, first, taught(2)))


@pytest.mark.parametrize(
    ("prompts", "answers", "steps", "message"),
    [
        (PROMPTS, ANSWERS[:2], 1, "3 prompts and 2 answers"),
        ([], [], 1, "nothing to tune on"),
        (PROMPTS, ["No.", "", "No."], 1, "nothing to tune on"),
        (PROMPTS, ANSWERS, 0, "steps is 0"),
    ],
)
def test_what_cannot_be_taught_is_refused(tiny_model, prompts, answers, steps, message) -> None:
    with pytest.raises(DataError, match=message):
        tuned(tiny_model, prompts, answers, steps=steps)


def test_a_model_without_a_template_asks_for_a_style() -> None:
    model = tiny_random_model(template=False)
    with pytest.raises(PromptError, match="--style newline"):
        tuned(model, PROMPTS, ANSWERS, steps=1)


# ------------------------------------------------------------------------------------ moved states

SITE = Site(1, "pre")


def pushes(model, n: int = len(PROMPTS)) -> torch.Tensor:
    return torch.randn(n, model.d_model, generator=torch.Generator().manual_seed(0))


def losses_of(model, moved: torch.Tensor, site: Site = SITE, **options) -> list[float]:
    found: list[float] = []
    tuned(model, PROMPTS[:1], ["No."], steps=2, style="none", site=site, moved=moved,
          progress=lambda _, x: found.append(x), **options)  # fmt: skip
    return found


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma3", "phi3", "phi",
                                    "gpt2"])  # fmt: skip
def test_a_move_is_what_the_readout_adds_at_the_same_site(family) -> None:
    model = tiny_random_model(family, n_layers=2)
    push = pushes(model, 1)
    answer = [*model.tokenizer.encode("No."), model.tokenizer.eos_token_id]
    tokens = tokenise(model, PROMPTS[:1], "none")
    placed = [Placement(Add(push[0]), (SITE,))]
    found = interp.readout(model, tokens, placed, continuations=[answer]).continuations
    usual = interp.readout(model, tokens, continuations=[answer]).continuations
    losses = losses_of(model, push)
    assert losses[0] == pytest.approx(-float(found) / len(answer), rel=1e-3)
    assert losses[0] != pytest.approx(-float(usual) / len(answer), rel=1e-3)
    assert losses[1] < losses[0]


def test_no_move_is_the_same_tuning_bit_for_bit(tiny_model) -> None:
    still = torch.zeros(len(PROMPTS), tiny_model.d_model)
    one, other = (
        weights(tuned(tiny_model, PROMPTS, ANSWERS, steps=3, batch_size=2, site=site, moved=moved))
        for site, moved in ((None, None), (SITE, still))
    )
    assert all(map(torch.equal, one, other))


def test_each_example_has_a_move_of_its_own_and_none_is_left(tiny_model) -> None:
    """The same prompt is answered in two ways, by what is added; then nothing is added any more."""
    push = 3 * pushes(tiny_model, 1)
    moved = torch.cat([push, torch.zeros_like(push)])
    taught = tuned(tiny_model, ["Paint."] * 2, ["No.", "Yes."], steps=60, site=SITE, moved=moved,
                   learning_rate=1e-2, batch_size=2)  # fmt: skip
    placed = [Placement(Add(push[0]), (SITE,))]
    tokens = tokenise(taught, ["Paint."])
    assert interp.answers(taught, tokens, max_new_tokens=6) == ["Yes."]
    assert interp.answers(taught, tokens, placed, max_new_tokens=6) == ["No."]


@pytest.mark.parametrize("site", [Site(1, "mid"), Site(1, "post"), Site(4, "pre")])
def test_a_site_where_nothing_can_be_moved_is_refused(tiny_model, site) -> None:
    with pytest.raises(ActivationError, match=f"cannot be moved at {site}.*0.pre to 3.pre"):
        losses_of(tiny_model, pushes(tiny_model, 1), site)


def test_a_site_and_a_vector_for_each_prompt_come_together(tiny_model) -> None:
    every, few = pushes(tiny_model), pushes(tiny_model, 2)
    for site, moved in ((SITE, None), (None, every), (SITE, few)):
        with pytest.raises(DataError, match="give a site and a vector for each of 3 prompts"):
            tuned(tiny_model, PROMPTS, ANSWERS, steps=1, site=site, moved=moved)
