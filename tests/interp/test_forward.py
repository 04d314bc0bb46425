"""Readouts, damage and generation under interventions equal a forward pass written by hand."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from interp.assets.tiny import tiny_huggingface
from interp.engine.packing import prefix_tree
from interp.engine.writing import touched
from interp.errors import ActivationError, PromptError
from interp.generation import generate
from interp.interventions import Add, Placement, RotateTo, Scale, ablate, compose
from interp.models import LoadedModel, tiny_random_model
from interp.predict import continuation_kl, readout, text_damage, text_log_probs
from interp.prompts import Tokens, batch, tokenise, tokenise_text
from interp.sites import Site, all_sites, everywhere
from interp.writes import hooks
from tests.conftest import FAMILIES
from tests.reference import plain_forward

WIDTH = 32
PROMPTS = ("Why is the sky blue?", "Tea", "Name three large rivers and where they end.")
CONTINUATIONS = [[40, 41], [40, 42, 43], [44], [40, 41, 45, 46]]


def vectors(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator)).Q.T[:count]


def interventions() -> list[Callable[[Tensor], Tensor]]:
    b1, b2, b3 = vectors(3)
    return [ablate(b1, b3), Add(4 * b1), Scale(b2, -1.5), RotateTo(b1, b2, 200)]


def reference_answers(hf_model, tokens: Tokens, edits) -> list[Tensor]:
    return [plain_forward(hf_model, ids, edits)[0].log_softmax(-1) for ids in tokens.sequences()]


@pytest.mark.parametrize("family", FAMILIES)
def test_writes_at_every_stream_reach_the_logits(family: str) -> None:
    model = tiny_random_model(family, n_layers=3)
    hf_model, _ = tiny_huggingface(family, n_layers=3)
    tokens = tokenise(model, PROMPTS)
    clean = readout(model, tokens).log_probs
    for stream in ("pre", "mid", "post"):
        for act in interventions():
            site = Site(1, stream)
            found = readout(model, tokens, [Placement(act, (site,))]).log_probs
            wanted = torch.stack([r[-1] for r in reference_answers(hf_model, tokens, {site: act})])
            assert torch.allclose(found, wanted, atol=1e-4)
            assert (found - clean).abs().max() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_interventions_everywhere_and_composed_equal_the_plain_forward(family: str) -> None:
    model = tiny_random_model(family, n_layers=3)
    hf_model, _ = tiny_huggingface(family, n_layers=3)
    tokens = tokenise(model, PROMPTS)
    remove, push = ablate(vectors(1)[0]), Add(3 * vectors(2)[1])
    sites = tuple(everywhere(3))
    placements = [Placement(remove, sites), Placement(push, (Site(2, "mid"),))]
    edits = {site: remove for site in sites} | {Site(2, "mid"): lambda h: push(remove(h))}
    found = readout(model, tokens, placements, continuations=CONTINUATIONS)
    for row, ids in enumerate(tokens.sequences()):
        for column, continuation in enumerate(CONTINUATIONS):
            log_probs = plain_forward(hf_model, ids + continuation, edits)[0].log_softmax(-1)
            steps = range(len(continuation))
            wanted = sum(float(log_probs[len(ids) - 1 + i, continuation[i]]) for i in steps)
            assert float(found.continuations[row, column]) == pytest.approx(wanted, abs=1e-3)


@given(st.lists(st.lists(st.integers(3, 250), min_size=1, max_size=40), min_size=1, max_size=6),
       st.lists(st.integers(3, 250), max_size=20))  # fmt: skip
def test_any_padding_and_any_prefix_give_the_unpadded_answer(
    tiny_model: LoadedModel, tails: list[list[int]], shared: list[int]
) -> None:
    tokens = batch([shared + tail for tail in tails], pad_id=0)
    remove = ablate(vectors(1)[0])
    found = readout(tiny_model, tokens, [Placement(remove)]).log_probs
    hf_model, _ = tiny_huggingface()
    edits = {site: remove for site in everywhere(4)}
    wanted = torch.stack([r[-1] for r in reference_answers(hf_model, tokens, edits)])
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("positions", ["prompt", (-1,), (-3, -2)])
def test_positions_restrict_where_a_write_lands(tiny_model: LoadedModel, positions) -> None:
    tokens = tokenise(tiny_model, PROMPTS)
    push = Add(5 * vectors(1)[0])
    site = Site(1, "mid")
    found = readout(tiny_model, tokens, [Placement(push, (site,), positions)]).log_probs
    hf_model, _ = tiny_huggingface()
    for row, ids in enumerate(tokens.sequences()):
        columns = range(-len(ids), 0) if positions == "prompt" else positions

        def at_columns(h: Tensor, columns=columns) -> Tensor:
            chosen = torch.zeros(h.shape[1], dtype=torch.bool)
            chosen[list(columns)] = True
            return torch.where(chosen[None, :, None], push(h), h)

        wanted = plain_forward(hf_model, ids, {site: at_columns})[0][-1].log_softmax(-1)
        assert torch.allclose(found[row], wanted, atol=1e-4)


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", (0, 1)])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_cached_generation_equals_full_recomputation(family: str, positions) -> None:
    model = tiny_random_model(family, n_layers=2)
    hf_model, _ = tiny_huggingface(family, n_layers=2)
    tokens = tokenise(model, PROMPTS)
    push, site = Add(3 * vectors(1)[0]), Site(1, "mid")
    answers = generate(model, tokens, [Placement(push, (site,), positions)], max_new_tokens=6)
    for ids, answer in zip(tokens.sequences(), answers, strict=True):

        def edit(h: Tensor, start: int = len(ids)) -> Tensor:
            columns = touched(positions, torch.arange(h.shape[1]) - start)
            return torch.where(columns[None, :, None], push(h), h)

        wanted: list[int] = []
        for _ in range(6):
            chosen = int(plain_forward(hf_model, ids + wanted, {site: edit})[0][-1].argmax())
            if chosen in model.end_tokens:
                break
            wanted.append(chosen)
        assert answer == wanted


def test_generation_stops_rows_at_the_end_token(tiny_model: LoadedModel) -> None:
    end = next(iter(tiny_model.end_tokens))
    towards_end = tiny_model.head[end] / tiny_model.head[end].norm()
    push = Placement(Add(1e4 * towards_end), (Site(3, "post"),))
    tokens = tokenise(tiny_model, PROMPTS)
    assert generate(tiny_model, tokens, [push], max_new_tokens=5) == [[], [], []]


def test_text_damage_is_zero_without_a_change_and_right_with_one(tiny_model: LoadedModel) -> None:
    tokens = batch([list(range(10, 30)), list(range(40, 75)), [90, 7, 8]], pad_id=0)
    none = text_damage(tiny_model, tokens, [])
    assert torch.allclose(none.kl, torch.zeros(3).double(), atol=1e-7)
    act, sites = ablate(vectors(1)[0]), tuple(everywhere(4))
    base = text_log_probs(tiny_model, tokens, budget=50)
    damage = text_damage(tiny_model, tokens, [Placement(act, sites)], base=base)
    hf_model, _ = tiny_huggingface()
    for row, ids in enumerate(tokens.sequences()):
        base = plain_forward(hf_model, ids)[0].log_softmax(-1)[:-1]
        edited = plain_forward(hf_model, ids, dict.fromkeys(sites, act))[0].log_softmax(-1)[:-1]
        after = torch.tensor(ids[1:])[:, None]
        kl = (base.exp() * (base - edited)).sum(-1).mean()
        assert float(damage.kl[row]) == pytest.approx(float(kl), abs=1e-4)
        assert float(damage.loss[row]) == pytest.approx(
            -float(edited.gather(1, after).mean()), abs=1e-4
        )
        assert float(damage.base_loss[row]) == pytest.approx(
            -float(base.gather(1, after).mean()), abs=1e-4
        )


def test_text_damage_takes_texts_without_a_template(tiny_model: LoadedModel) -> None:
    texts = ["The sea is salt.", "A river is not."]
    edits = [Placement(ablate(vectors(1)[0]))]
    wanted = text_damage(tiny_model, tokenise_text(tiny_model, texts), edits)
    assert torch.equal(text_damage(tiny_model, texts, edits).kl, wanted.kl)


def test_continuation_kl_averages_over_the_answer(tiny_model: LoadedModel) -> None:
    tokens, answers = tokenise(tiny_model, PROMPTS), [[5, 6, 7], [9], [11, 12]]
    act, sites = ablate(vectors(1)[0]), tuple(everywhere(4))
    found = continuation_kl(tiny_model, tokens, [Placement(act, sites)], answers=answers)
    hf_model, _ = tiny_huggingface()
    for row, (ids, answer) in enumerate(zip(tokens.sequences(), answers, strict=True)):
        window = slice(len(ids) - 1, len(ids) - 1 + len(answer))
        base = plain_forward(hf_model, ids + answer)[0].log_softmax(-1)[window]
        edited = plain_forward(hf_model, ids + answer, dict.fromkeys(sites, act))[0]
        kl = (base.exp() * (base - edited.log_softmax(-1)[window])).sum(-1).mean()
        assert float(found[row]) == pytest.approx(float(kl), abs=1e-4)


def test_the_prefix_tree_runs_shared_tokens_once() -> None:
    tree = prefix_tree(CONTINUATIONS)
    assert tree.tokens == (40, 42, 41, 45)
    assert tree.ancestors == ((0,), (0, 1), (0, 2), (0, 2, 3))
    assert tree.following == (((0, 41), (1, 42), (3, 41)), ((1, 43),), ((3, 45),), ((3, 46),))
    assert prefix_tree([[1], [2]]).tokens == ()


def test_no_hook_is_left_behind_after_an_error(tiny_model: LoadedModel) -> None:
    tokens = tokenise(tiny_model, PROMPTS)
    clean = readout(tiny_model, tokens).log_probs

    def fail(h: Tensor) -> Tensor:
        raise KeyboardInterrupt

    for stream in ("pre", "mid", "post"):
        with pytest.raises(KeyboardInterrupt):
            readout(tiny_model, tokens, [Placement(fail, (Site(1, stream),))])
    assert torch.equal(readout(tiny_model, tokens).log_probs, clean)
    assert not any(hook.has_hooks() for hook in tiny_model.bridge.hook_dict.values())


def test_bad_sites_and_positions_are_named(tiny_model: LoadedModel) -> None:
    tokens, act = tokenise(tiny_model, PROMPTS), Add(vectors(1)[0])
    with pytest.raises(ActivationError, match=r"no site 9\.pre"):
        readout(tiny_model, tokens, [Placement(act, (Site(9, "pre"),))])
    with pytest.raises(ActivationError, match="Position -500"):
        readout(tiny_model, tokens, [Placement(act, (Site(1, "pre"),), (-500,))])
    parallel = tiny_random_model("phi", n_layers=2)
    with pytest.raises(ActivationError, match="no `mid`"):
        readout(parallel, tokenise(parallel, PROMPTS), [Placement(act, (Site(1, "mid"),))])


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (lambda one: one, "Placement outside a list"),
        (lambda one: [one, one.intervention], "a list with Add"),
    ],
)
def test_edits_that_are_no_list_of_placements_are_named(
    tiny_model: LoadedModel, given, shown
) -> None:
    edits = given(Placement(Add(vectors(1)[0]), (Site(1, "pre"),)))
    for take in (lambda: readout(tiny_model, PROMPTS, edits), lambda: hooks(tiny_model, edits)):
        with pytest.raises(ActivationError, match=rf"ablate\(\)\]; got {shown}"):
            take()


@pytest.mark.parametrize(
    "act", [ablate(torch.ones(9)), compose(Scale(torch.ones(WIDTH), 2), Add(torch.ones(1)))]
)
def test_a_vector_of_another_width_is_named(tiny_model: LoadedModel, act) -> None:
    for take in (lambda e: readout(tiny_model, PROMPTS, e), lambda e: hooks(tiny_model, e)):
        with pytest.raises(ActivationError, match=r"tiny-random are 32 wide.*shape \((1, 9|1,)\)"):
            take([Placement(act, (Site(1, "pre"),))])


def test_temperatures_below_zero_are_refused(tiny_model: LoadedModel) -> None:
    for temperature in (-1.0, float("nan")):
        with pytest.raises(ActivationError, match=r"temperature is .*expected 0"):
            generate(tiny_model, PROMPTS, temperature=temperature)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_answers_that_do_not_fit_into_the_context_are_refused(family: str, tiny_models) -> None:
    model = tiny_models[family]
    tokens = batch([list(range(3, 203)) * 2], pad_id=0)
    assert len(generate(model, tokens, max_new_tokens=113, min_new_tokens=113)[0]) == 113
    with pytest.raises(PromptError, match=r"400 tokens and 114 new ones.*reads at most 512"):
        generate(model, tokens, max_new_tokens=114)


def test_logits_that_are_not_finite_are_an_error(tiny_model: LoadedModel) -> None:
    tokens = tokenise(tiny_model, PROMPTS)
    blow_up = Placement(Add(torch.full((WIDTH,), float("inf"))), (Site(0, "pre"),))
    with pytest.raises(ActivationError, match="not finite"):
        readout(tiny_model, tokens, [blow_up])


def test_sites_of_one_layer_in_parallel_models_still_work() -> None:
    model = tiny_random_model("phi", n_layers=2)
    tokens = tokenise(model, PROMPTS)
    act = ablate(vectors(1)[0])
    sites = tuple(everywhere(2, has_mid=False))
    changed = readout(model, tokens, [Placement(act, sites)]).log_probs
    assert (changed - readout(model, tokens).log_probs).abs().max() > 1e-3
    assert len(all_sites(2, ("pre", "post"))) == 4
