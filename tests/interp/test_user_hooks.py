"""Hooks that a user has set on the model are honoured, and leave no trace in what is kept.

The judge is `run_with_hooks` of the bridge, one unpadded sequence at a time.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.activations import capture
from interp.engine.body import Body, engine_of
from interp.engine.packing import pack
from interp.engine.writing import write_hooks
from interp.errors import ActivationError
from interp.generation import generate
from interp.interventions import Add, Placement, ablate
from interp.models import LoadedModel, tiny_random_model
from interp.predict import continuation_kl, each_text, readout, text_damage, text_log_probs
from interp.prompts import Tokens, batch, tokenise
from interp.scores import opening_tokens, refusal_scores
from interp.sites import Site, everywhere
from tests.conftest import FAMILIES

PROMPTS = ("Why is the sky blue?", "Tea", "Name three large rivers and where they end.")
CONTINUATIONS = [[40, 41], [40, 42, 43], [44]]
SITES = (Site(0, "post"), Site(2, "mid"), Site(3, "pre"), Site(3, "post"))
POINTS = (
    "hook_embed",
    "blocks.3.hook_resid_pre",
    "blocks.1.hook_resid_mid",
    "blocks.1.hook_resid_post",
    "blocks.2.hook_attn_out",
    "blocks.2.hook_mlp_out",
    "blocks.1.attn.hook_q",
    "blocks.1.attn.hook_v",
    "blocks.3.attn.hook_pattern",
    "blocks.3.mlp.hook_post",
    "blocks.2.ln1.hook_normalized",
    "blocks.2.ln2.hook_out",
    "ln_final.hook_normalized",
)


class Edit:
    """A user's hook function that counts its calls."""

    def __init__(self, act: Callable[[Tensor], Tensor]):
        self.act, self.calls = act, 0

    def __call__(self, tensor: Tensor, hook: object) -> Tensor:
        self.calls += 1
        return self.act(tensor)


def tilted(h: Tensor) -> Tensor:
    return h * torch.linspace(0.5, 1.5, h.shape[-1])


def last_turned(h: Tensor) -> Tensor:
    """In place, and at the end of whatever passes."""
    h[:, -1] = h[:, -1].flip(-1)
    return h


def bridge_log_probs(
    model: LoadedModel, ids: Sequence[int], hooks: Sequence[tuple[str, Any]] = ()
) -> Tensor:
    """Log probabilities after every token of one sequence; hooks that are set already stay."""
    with torch.inference_mode():
        return model.bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=list(hooks))[
            0
        ].log_softmax(-1)


def bridge_continuation(model: LoadedModel, ids: list[int], continuation: list[int]) -> float:
    """Each token predicted by a pass over what comes before it."""
    steps = range(len(continuation))
    return sum(
        float(bridge_log_probs(model, ids + continuation[:n])[-1, continuation[n]]) for n in steps
    )


def bridge_answer(model: LoadedModel, ids: list[int], n: int) -> list[int]:
    answer: list[int] = []
    for _ in range(n):
        chosen = int(bridge_log_probs(model, ids + answer)[-1].argmax())
        if chosen in model.end_tokens:
            break
        answer.append(chosen)
    return answer


def bridge_states(model: LoadedModel, ids: list[int], sites: Sequence[Site]) -> Tensor:
    read: dict[str, Tensor] = {}

    def keep(h: Tensor, hook: Any, name: str) -> None:
        read[name] = h[0].clone()

    names = [site.hook_name for site in sites]
    hooks = [(name, lambda h, hook, name=name: keep(h, hook, name)) for name in names]
    bridge_log_probs(model, ids, hooks)
    return torch.stack([read[name] for name in names])


def assert_readout_is_the_bridges(model: LoadedModel, tokens: Tokens) -> None:
    """Under the hooks that are set now."""
    found = readout(model, tokens).log_probs
    wanted = torch.stack([bridge_log_probs(model, ids)[-1] for ids in tokens.sequences()])
    assert torch.allclose(found, wanted, atol=1e-4)


def assert_capture_is_the_bridges(model: LoadedModel, tokens: Tokens) -> None:
    found = capture(model, tokens, sites=SITES, positions=(-1, -2))
    for row, ids in enumerate(tokens.sequences()):
        wanted = bridge_states(model, ids, SITES)[:, [-1, -2]]
        assert torch.allclose(found[row], wanted, atol=1e-4)


def kept(model: LoadedModel) -> set[tuple[bytes, int]]:
    states = engine_of(model).residuals._states
    return {(key, block) for key, blocks in states.items() for block in blocks}


@pytest.fixture(scope="module")
def models() -> dict[str, LoadedModel]:
    return {family: tiny_random_model(family) for family in FAMILIES}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_hook_at_any_point_acts_and_leaves_no_trace(family: str, point: str, models) -> None:
    model = models[family]
    tokens = tokenise(model, PROMPTS)
    clean, before, edit = readout(model, tokens).log_probs, kept(model), Edit(tilted)
    with model.bridge.hooks(fwd_hooks=[(point, edit)]):
        assert (readout(model, tokens).log_probs - clean).abs().max() > 1e-3
        assert edit.calls > 0
        assert_readout_is_the_bridges(model, tokens)
        assert_capture_is_the_bridges(model, tokens)
    calls = edit.calls
    assert kept(model) == before
    assert torch.equal(readout(model, tokens).log_probs, clean)
    assert edit.calls == calls


FUNCTIONS = pytest.mark.parametrize(
    ("family", "point", "act"),
    [
        ("llama", "blocks.1.hook_resid_post", tilted),
        ("llama", "blocks.1.hook_resid_post", last_turned),
        ("gemma3", "blocks.2.attn.hook_pattern", tilted),
        ("gpt2", "blocks.0.hook_resid_pre", last_turned),
    ],
)


@contextmanager
def hook(model: LoadedModel, point: str, act: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Set by a user; it has to fire."""
    edit = Edit(act)
    with model.bridge.hooks(fwd_hooks=[(point, edit)]):
        yield
    assert edit.calls > 0


@FUNCTIONS
def test_continuations_and_their_scores_under_a_users_hook(family, point, act, models) -> None:
    model = models[family]
    tokens = tokenise(model, PROMPTS)
    openings = [opening for kind in opening_tokens(model) for opening in kind]
    with hook(model, point, act):
        found = readout(model, tokens, continuations=CONTINUATIONS)
        for row, ids in enumerate(tokens.sequences()):
            wanted = [bridge_continuation(model, ids, each) for each in CONTINUATIONS]
            assert found.continuations[row].tolist() == pytest.approx(wanted, abs=1e-4)
        scores = refusal_scores(model, tokens[[1]])
        ids = tokens.sequences()[1]
        totals = torch.tensor([bridge_continuation(model, ids, each) for each in openings])
    refusal, compliance = totals.split(len(totals) // 2)
    wanted_score = float(refusal.logsumexp(0) - compliance.logsumexp(0))
    assert float(scores.openings[0]) == pytest.approx(wanted_score, abs=1e-3)


@FUNCTIONS
def test_answers_under_a_users_hook(family, point, act, models) -> None:
    model = models[family]
    tokens = tokenise(model, PROMPTS)
    with hook(model, point, act):
        answers = generate(model, tokens, max_new_tokens=6)
        assert answers == [bridge_answer(model, ids, 6) for ids in tokens.sequences()]


@FUNCTIONS
def test_texts_and_damage_under_a_users_hook(family, point, act, models) -> None:
    model = models[family]
    texts = batch([list(range(10, 30)), list(range(40, 75)), [90, 7, 8]], pad_id=0)
    push = [Placement(Add(torch.arange(32.0) / 9), (Site(2, "pre"),))]
    with hook(model, point, act):
        found = text_log_probs(model, texts)
        damage = text_damage(model, texts, push)
        for row, ids in enumerate(texts.sequences()):
            wanted = bridge_log_probs(model, ids)[len(texts.prefix) :]
            assert torch.allclose(found[row, -len(wanted) :], wanted, atol=1e-4)
            edited = bridge_log_probs(model, ids, write_hooks(push))
            kl = (wanted.exp() * (wanted - edited)).sum(-1)[:-1].mean()
            assert float(damage.kl[row]) == pytest.approx(float(kl), abs=1e-4)


@FUNCTIONS
def test_damage_to_answers_under_a_users_hook(family, point, act, models) -> None:
    model = models[family]
    tokens, answers = tokenise(model, PROMPTS), [[5, 6, 7], [9], []]
    push = [Placement(Add(torch.arange(32.0) / 9), (Site(2, "pre"),))]
    with hook(model, point, act):
        found = continuation_kl(model, tokens, push, answers=answers)
        for row, (ids, answer) in enumerate(zip(tokens.sequences(), answers, strict=True)):
            before = [ids + answer[:n] for n in range(max(1, len(answer)))]
            base = torch.stack([bridge_log_probs(model, each)[-1] for each in before])
            hooks = write_hooks(push)
            edited = torch.stack([bridge_log_probs(model, each, hooks)[-1] for each in before])
            kl = (base.exp() * (base - edited)).sum(-1).mean()
            assert float(found[row]) == pytest.approx(float(kl), abs=1e-4)


# --- what counts as a user's hook -----------------------------------------------------------------


@contextmanager
def set_on_hook_point(model: LoadedModel, edit: Edit) -> Iterator[None]:
    model.bridge.hook_dict["blocks.2.mlp.hook_out"].add_hook(edit)
    yield
    model.bridge.reset_hooks()


@contextmanager
def added(model: LoadedModel, edit: Edit) -> Iterator[None]:
    model.bridge.add_hook("blocks.2.mlp.hook_post", edit)
    yield
    model.bridge.reset_hooks()


@contextmanager
def permanent(model: LoadedModel, edit: Edit) -> Iterator[None]:
    model.bridge.add_perma_hook("blocks.1.attn.hook_z", edit)
    model.bridge.reset_hooks()
    yield
    model.bridge.reset_hooks(including_permanent=True)


@contextmanager
def by_filter(model: LoadedModel, edit: Edit) -> Iterator[None]:
    with model.bridge.hooks(fwd_hooks=[(lambda name: name.endswith("attn.hook_k"), edit)]):
        yield


def by_torch(module: Callable[[LoadedModel], Any], pre: bool = False) -> Any:
    @contextmanager
    def hooked(model: LoadedModel, edit: Edit) -> Iterator[None]:
        if pre:
            hook = module(model).register_forward_pre_hook(
                lambda m, inputs: (edit(inputs[0], m), *inputs[1:])
            )
        else:
            hook = module(model).register_forward_hook(lambda m, i, output: edit(output, m))
        yield
        hook.remove()

    return hooked


WAYS = {
    "on a hook point": set_on_hook_point,
    "add_hook": added,
    "add_perma_hook": permanent,
    "by filter": by_filter,
    "torch, plain module": by_torch(lambda m: m.bridge.blocks[2].mlp.original_component),
    "torch, component": by_torch(lambda m: m.bridge.blocks[2].ln1, pre=True),
    "torch, embedding": by_torch(lambda m: m.hf.get_input_embeddings()),
    "torch, hook point": by_torch(lambda m: m.bridge.blocks[1].hook_in),
}


@pytest.mark.parametrize("way", WAYS)
def test_hooks_set_in_any_way_are_honoured_while_they_are_there(way: str, models) -> None:
    model = models["llama"]
    tokens = tokenise(model, PROMPTS)
    clean, edit = readout(model, tokens).log_probs, Edit(tilted)
    with WAYS[way](model, edit):
        assert (readout(model, tokens).log_probs - clean).abs().max() > 1e-3
        assert edit.calls > 0
        assert_readout_is_the_bridges(model, tokens)
        assert_capture_is_the_bridges(model, tokens)
    assert torch.equal(readout(model, tokens).log_probs, clean)


def is_packed(model: LoadedModel) -> bool:
    with Body(model) as body:
        return body.packs


def test_hooks_of_libraries_and_backward_hooks_leave_the_fast_path(models) -> None:
    model = models["llama"]
    tokens = tokenise(model, PROMPTS)
    clean = readout(model, tokens).log_probs
    model.hf(torch.tensor([[3, 4, 5]]), output_hidden_states=True, output_attentions=True)
    with model.bridge.hooks(bwd_hooks=[("blocks.1.hook_resid_pre", Edit(tilted))]):
        assert is_packed(model)
        assert torch.equal(readout(model, tokens).log_probs, clean)
    with model.bridge.hooks(fwd_hooks=[("blocks.1.mlp.hook_pre", Edit(tilted))]):
        assert not is_packed(model)
    assert is_packed(model)


def test_a_model_first_used_under_a_hook_is_checked_without_it() -> None:
    model, edit = tiny_random_model(), Edit(tilted)
    tokens = tokenise(model, PROMPTS)
    with model.bridge.hooks(fwd_hooks=[("blocks.1.hook_resid_pre", edit)]):
        readout(model, tokens)
        assert edit.calls == len(PROMPTS), "a packed pass was compared under the hook"
        assert not is_packed(model)
    assert is_packed(model)
    wanted = readout(tiny_random_model(), tokens).log_probs
    assert torch.allclose(readout(model, tokens).log_probs, wanted, atol=1e-5)


def at_point(name: str) -> Callable[[LoadedModel], Any]:
    return lambda model: model.bridge.hook_dict[name].add_hook(Edit(tilted)).hook


UNRUN = {
    "unembed.hook_in": at_point("unembed.hook_in"),
    "unembed.hook_out": at_point("hook_unembed"),
    "unembed._original_component": lambda model: model.unembedding.register_forward_hook(print),
    "the bridge itself": lambda model: model.bridge.register_forward_hook(print),
    "the Hugging Face model itself": lambda model: model.hf.register_forward_pre_hook(print),
}


@pytest.mark.parametrize("name", UNRUN)
def test_a_hook_that_would_not_fire_is_refused_by_name(name: str, models) -> None:
    model = models["llama"]
    tokens = tokenise(model, PROMPTS)
    clean = readout(model, tokens).log_probs
    handle = UNRUN[name](model)
    try:
        for call in (
            readout,
            lambda m, t: generate(m, t, max_new_tokens=2),
            lambda m, t: capture(m, t, sites=SITES),
        ):
            with pytest.raises(ActivationError, match=rf"{name} cannot be honoured.*ln_final"):
                call(model, tokens)
    finally:
        handle.remove()
        model.bridge.reset_hooks()
    assert torch.equal(readout(model, tokens).log_probs, clean)


# --- ours beside theirs ---------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["pre", "mid", "post"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_users_hook_acts_before_ours_at_the_same_point(family: str, stream, models) -> None:
    model = models[family]
    tokens = tokenise(model, PROMPTS)
    site = Site(2, stream)
    ours = [
        Placement(Add(torch.arange(32.0) / 9), (site,)),
        Placement(ablate(torch.ones(32)), (site,), (-1, -3)),
    ]
    theirs = ("blocks.2.hook_attn_out" if stream == "mid" else site.hook_name, Edit(tilted))
    with model.bridge.hooks(fwd_hooks=[theirs]):
        found = readout(model, tokens, ours).log_probs
        states = capture(model, tokens, ours, sites=[site])[:, 0, 0]
    for row, ids in enumerate(tokens.sequences()):
        hooks = [theirs, *write_hooks(ours)]
        assert torch.allclose(found[row], bridge_log_probs(model, ids, hooks)[-1], atol=1e-4)
        with model.bridge.hooks(fwd_hooks=hooks):
            assert torch.allclose(states[row], bridge_states(model, ids, [site])[0, -1], atol=1e-4)
    swapped = [*write_hooks(ours), theirs]
    other = bridge_log_probs(model, tokens.sequences()[0], swapped)[-1]
    assert (found[0] - other).abs().max() > 1e-3


# --- bodies inside each other ---------------------------------------------------------------------


def test_of_bodies_inside_each_other_only_the_innermost_acts(models) -> None:
    model = models["llama"]
    tokens = tokenise(model, PROMPTS)
    ours = [Placement(Add(torch.arange(32.0)), tuple(everywhere(4)))]
    clean, pushed = readout(model, tokens).log_probs, readout(model, tokens, ours).log_probs
    row = pack(tokens)
    with Body(model, ours, [Site(3, "post")]) as outer:
        wanted, read = outer.run(row), outer.read[Site(3, "post")].clone()
        engine_of(model).residuals.forget()
        with Body(model) as inner:
            assert inner.packs
            inner.run(row)
        assert torch.equal(readout(model, tokens).log_probs, clean)
        assert torch.equal(outer.read[Site(3, "post")], read)
        assert torch.equal(outer.run(row), wanted)
    assert torch.equal(readout(model, tokens, ours).log_probs, pushed)
    assert torch.equal(readout(model, tokens).log_probs, clean)


def test_a_body_that_is_left_before_the_one_inside_it_leaves_nothing_behind(models) -> None:
    model = models["llama"]
    tokens = tokenise(model, PROMPTS)
    clean = readout(model, tokens).log_probs
    ours = [Placement(Add(torch.arange(32.0)), (Site(1, "pre"),))]
    with torch.inference_mode():
        texts = each_text(model, tokens, ours, 512)
        assert isinstance(texts, Generator)
        next(texts)
        with Body(model) as inner:
            states = inner.run(pack(tokens))
            texts.close()
            assert torch.equal(inner.run(pack(tokens)), states)
    assert torch.equal(readout(model, tokens).log_probs, clean)
    assert not any(point.has_hooks() for point in model.bridge.hook_dict.values())


def test_answers_are_the_same_when_their_progress_is_measured_by_a_readout(models) -> None:
    model = models["llama"]
    tokens = tokenise(model, [*PROMPTS, "Sing.", "Go away"])
    ours = [Placement(Add(torch.arange(32.0) / 9), (Site(1, "mid"),))]
    wanted, clean = (
        generate(model, tokens, ours, max_new_tokens=12),
        readout(model, tokens).log_probs,
    )
    measured: list[Tensor] = []

    def measure(finished: int) -> None:
        measured.append(readout(model, tokens).log_probs)

    assert generate(model, tokens, ours, max_new_tokens=12, progress=measure) == wanted
    assert all(torch.equal(each, clean) for each in measured) and measured
