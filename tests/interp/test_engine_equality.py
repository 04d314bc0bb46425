"""The engine equals the plain full forward, always: whatever it packs, caches, restarts or skips.

There is one judge: `tests.reference.plain_forward`, one unpadded sequence at a time, without a
bridge, a hook or a cache. Hypothesis draws models, prompts, prefixes, interventions, sites and
position rules, and also histories of calls with the weights changed in between.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformers import AutoModelForCausalLM

from interp.activations import capture, capture_moments
from interp.assets.tiny import TINY_SHA256, tiny_config, tiny_tokenizer
from interp.generation import generate
from interp.interventions import (
    Add,
    Intervention,
    Placement,
    Positions,
    RotateTo,
    Scale,
    ablate,
    compose,
)
from interp.models import LoadedModel, from_huggingface
from interp.predict import continuation_kl, readout, text_log_probs
from interp.prompts import Tokens, batch
from interp.sites import Site, all_sites, everywhere
from interp.weights import orthogonalised
from tests.conftest import FAMILIES
from tests.reference import Edits, plain_forward

WIDTH, N_LAYERS, VOCABULARY = 32, 4, 259
TOLERANCE = 1e-4
WINDOWED = ("mistral with window 8", "gemma3 with window 8", "phi3 with window 8")
VARIANTS = (*FAMILIES, *WINDOWED)
STREAMS = ("pre", "mid", "post")
ALL_SITES = all_sites(N_LAYERS, STREAMS)
RULES: tuple[Positions, ...] = (
    "all",
    "prompt",
    "generated",
    (-1,),
    (0,),
    (-3, -1),
    (0, 1),
    (-2, 0),
)

# --- models ---------------------------------------------------------------------------------------


def plain_copy(variant: str, dtype: torch.dtype = torch.float32) -> Any:
    """A random Hugging Face model whose gains and biases are not left at one and zero.

    Gemma 3 alternates windowed and full attention here, as the real one does every sixth layer.
    """
    family = variant.split()[0]
    config = tiny_config(family, VOCABULARY, N_LAYERS, tied=variant.endswith("tied"))
    if "window" in variant:
        config.sliding_window = int(variant.split()[-1])
    if family == "gemma3":
        config.layer_types = ["sliding_attention", "full_attention"] * (N_LAYERS // 2)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        hf_model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        for parameter in hf_model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return hf_model


plain_model = cache(plain_copy)


@cache
def engine_model(variant: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """The same weights in a bridge."""
    hf_model = deepcopy(plain_model(variant, dtype))
    return from_huggingface(hf_model, tiny_tokenizer(), variant, TINY_SHA256, random=True)


# --- what is expected -----------------------------------------------------------------------------


def touches(rule: Positions, offset: int) -> bool:
    """Whether a rule names the position at this offset from the prompt's end."""
    if isinstance(rule, tuple):
        return offset in rule
    return {"all": True, "prompt": offset < 0, "generated": offset >= 0}[rule]


def then_write(
    before: Callable[[Tensor], Tensor], placement: Placement, prompt_length: int
) -> Callable[[Tensor], Tensor]:
    def edit(h: Tensor) -> Tensor:
        h = before(h)
        columns = range(h.shape[1])
        touched = [touches(placement.positions, column - prompt_length) for column in columns]
        return torch.where(torch.tensor(touched)[None, :, None], placement.intervention(h), h)

    return edit


def edits_of(placements: Sequence[Placement], prompt_length: int) -> Edits:
    """The placements as functions of one whole sequence; those of one site in their order."""
    edits: dict[Site, Callable[[Tensor], Tensor]] = {}
    for placement in placements:
        for site in placement.sites or ():
            before = edits.get(site, lambda h: h)
            edits[site] = then_write(before, placement, prompt_length)
    return edits


def plain_log_probs(
    hf_model: Any,
    prompt: list[int],
    placements: Sequence[Placement],
    answer: Sequence[int] = (),
) -> Tensor:
    """Next-token log probabilities at every token of a prompt and its answer."""
    edits = edits_of(placements, len(prompt))
    return plain_forward(hf_model, [*prompt, *answer], edits)[0].float().log_softmax(-1)


def plain_answer_log_probs(
    hf_model: Any, prompt: list[int], placements: Sequence[Placement], answer: Sequence[int]
) -> Tensor:
    """The predictions of the answer's tokens alone; of an empty answer, the first prediction."""
    log_probs = plain_log_probs(hf_model, prompt, placements, answer)
    return log_probs[len(prompt) - 1 :][: max(1, len(answer))]


def plain_generation(
    model: LoadedModel, hf_model: Any, prompt: list[int], placements: Sequence[Placement], n: int
) -> tuple[list[int], bool]:
    """Greedy answer by full recomputation, and whether it stopped at a tie.

    Where the best two tokens are a rounding error apart, either is right and what follows is open.
    """
    answer: list[int] = []
    for _ in range(n):
        last = plain_log_probs(hf_model, prompt, placements, answer)[-1]
        best, second = last.topk(2).values.tolist()
        if best - second < TOLERANCE:
            return answer, True
        if int(last.argmax()) in model.end_tokens:
            break
        answer.append(int(last.argmax()))
    return answer, False


def assert_near(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert float((found.double() - wanted.double()).abs().max()) <= TOLERANCE


def assert_readout_is_plain(
    model: LoadedModel,
    hf_model: Any,
    tokens: Tokens,
    placements: Sequence[Placement],
    continuations: Sequence[Sequence[int]] = (),
) -> None:
    found = readout(model, tokens, placements, continuations=continuations)
    assert found.continuations.shape == (len(tokens), len(continuations))
    for row, prompt in enumerate(tokens.sequences()):
        assert_near(found.log_probs[row], plain_log_probs(hf_model, prompt, placements)[-1])
        for column, continuation in enumerate(continuations):
            wanted = plain_answer_log_probs(hf_model, prompt, placements, continuation)
            total = wanted.double().gather(1, torch.tensor(continuation)[:, None]).sum()
            assert_near(found.continuations[row, column], total)


def assert_text_is_plain(
    model: LoadedModel, hf_model: Any, tokens: Tokens, placements: Sequence[Placement]
) -> None:
    found = text_log_probs(model, tokens, placements)
    assert found.shape == (*tokens.ids.shape, VOCABULARY)
    for row, text in enumerate(tokens.sequences()):
        wanted = plain_log_probs(hf_model, text, placements)[len(tokens.prefix) :]
        assert_near(found[row][tokens.mask[row].bool()], wanted)


def assert_capture_is_plain(
    model: LoadedModel,
    hf_model: Any,
    tokens: Tokens,
    placements: Sequence[Placement],
    sites: Sequence[Site] = ALL_SITES,
    positions: Sequence[int] = (-1,),
) -> None:
    found = capture(model, tokens, placements, sites=sites, positions=positions)
    for row, prompt in enumerate(tokens.sequences()):
        states = plain_forward(hf_model, prompt, edits_of(placements, len(prompt)))[1]
        wanted = torch.stack([states[site][list(positions)] for site in sites])
        scale = wanted.abs().max().clamp_min(1)
        assert_near(found[row] / scale, wanted / scale)


# --- what is drawn --------------------------------------------------------------------------------

SEEDS = st.integers(0, 2**16)
CONTINUATIONS = st.lists(
    st.lists(st.sampled_from([40, 41, 42]), min_size=1, max_size=4), max_size=4
)
"""Of an alphabet so small that they begin alike, or are the same."""


def drawn_ids(random: Random, length: int) -> list[int]:
    """Any tokens, also the padding and the end token, which may stand inside a prompt."""
    return [random.randrange(VOCABULARY) for _ in range(length)]


def two_prompts() -> Tokens:
    """A fixed pair that shares its first six tokens, which are its prefix."""
    random = Random(0)
    shared = drawn_ids(random, 6)
    return batch([shared + drawn_ids(random, length) for length in (20, 15)], pad_id=0)


def padded(sequences: Sequence[list[int]], prefix_length: int, pad_id: int) -> Tokens:
    """Tokens with a prefix of any length that the sequences share, left-padded."""
    remainders = [sequence[prefix_length:] for sequence in sequences]
    width = max(map(len, remainders))
    ids = [[pad_id] * (width - len(own)) + own for own in remainders]
    mask = [[0] * (width - len(own)) + [1] * len(own) for own in remainders]
    prefix = torch.tensor(sequences[0][:prefix_length], dtype=torch.long)
    return Tokens(prefix, torch.tensor(ids), torch.tensor(mask))


@st.composite
def prompts(draw: st.DrawFn) -> Tokens:
    """1 to 5 prompts, perhaps all the same; a prefix of none, some or all of what they share."""
    random = Random(draw(SEEDS))
    shared = drawn_ids(random, draw(st.integers(0, 20)))
    lengths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=5))
    tails = [drawn_ids(random, length) for length in lengths]
    if draw(st.booleans()):
        tails = [tails[0]] * len(tails)
    sequences, pad_id = [shared + tail for tail in tails], draw(st.sampled_from([0, 5]))
    if draw(st.booleans()):
        return batch(sequences, pad_id)
    return padded(sequences, draw(st.integers(0, len(shared))), pad_id)


# All are continuous, so that rounding never decides: what `adaptive` gates fades at its gate.
KINDS: dict[str, Callable[[Tensor, Tensor, Tensor], Intervention]] = {
    "ablate one": lambda b1, b2, b3: ablate(b1),
    "ablate two": lambda b1, b2, b3: ablate(b1, b1 + b3),
    "add": lambda b1, b2, b3: Add(3 * b1),
    "scale": lambda b1, b2, b3: Scale(b2, -1.5),
    "rotate to": lambda b1, b2, b3: RotateTo(b1, b2, 200),
    "compose": lambda b1, b2, b3: compose(Scale(b1, 0.5), RotateTo(b2, b3, -40)),
}
SITES = st.one_of(
    st.sampled_from(ALL_SITES).map(lambda site: (site,)),
    st.lists(st.sampled_from(ALL_SITES), min_size=2, max_size=4, unique=True).map(tuple),
    st.just(tuple(everywhere(N_LAYERS))),
)


def orthonormal(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    b1, b2, b3 = torch.linalg.qr(torch.randn(WIDTH, 3, generator=generator)).Q.T
    return b1, b2, b3


def rules_for(tokens: Tokens, rules: Sequence[Positions] = RULES) -> list[Positions]:
    """The rules that name no position which the shortest prompt lacks."""
    shortest = int(tokens.lengths.min())
    return [rule for rule in rules if isinstance(rule, str) or min(rule) >= -shortest]


@st.composite
def placements_on(
    draw: st.DrawFn, tokens: Tokens, rules: Sequence[Positions] = RULES, fewest: int = 1
) -> list[Placement]:
    """Up to three placements of any kind, at any sites, on positions that all prompts have."""
    return [
        Placement(
            KINDS[draw(st.sampled_from(sorted(KINDS)))](*orthonormal(draw(SEEDS))),
            draw(SITES),
            draw(st.sampled_from(rules_for(tokens, rules))),
        )
        for _ in range(draw(st.integers(fewest, 3)))
    ]


# --- one call -------------------------------------------------------------------------------------


@settings(max_examples=250)
@given(st.sampled_from(VARIANTS), prompts(), CONTINUATIONS, st.data())
def test_readouts_and_continuations_equal_the_plain_forward(
    variant: str, tokens: Tokens, continuations: list[list[int]], data: st.DataObject
) -> None:
    placements = data.draw(placements_on(tokens, fewest=0))
    model, hf_model = engine_model(variant), plain_model(variant)
    assert_readout_is_plain(model, hf_model, tokens, placements, continuations)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_write_at_any_one_site_equals_the_plain_forward(variant: str) -> None:
    """Every layer to restart from, on every family, reads and writes at each stream."""
    random = Random(variant)
    shared, kinds = drawn_ids(random, 9), sorted(KINDS)
    tokens = batch([shared + drawn_ids(random, length) for length in (10, 17)], pad_id=0)
    model, hf_model = engine_model(variant), plain_model(variant)
    for index, site in enumerate(ALL_SITES):
        act = KINDS[kinds[index % len(kinds)]](*orthonormal(index))
        rule = RULES[index % len(RULES)]
        placements = [Placement(act, (site,), rule)]
        assert_readout_is_plain(model, hf_model, tokens, placements, [[40, 41], [40, 42, 43]])
        assert_capture_is_plain(model, hf_model, tokens, placements)


@settings(max_examples=100)
@given(st.sampled_from(VARIANTS), prompts(), st.data())
def test_text_log_probs_equal_the_plain_forward_at_every_real_token(
    variant: str, tokens: Tokens, data: st.DataObject
) -> None:
    placements = data.draw(placements_on(tokens, fewest=0))
    assert_text_is_plain(engine_model(variant), plain_model(variant), tokens, placements)


@settings(max_examples=100)
@given(st.sampled_from(VARIANTS), prompts(), st.permutations(ALL_SITES), st.data())
def test_captures_equal_the_plain_forward_and_moments_equal_captures(
    variant: str, tokens: Tokens, shuffled: list[Site], data: st.DataObject
) -> None:
    model, hf_model = engine_model(variant), plain_model(variant)
    placements = data.draw(placements_on(tokens, fewest=0))
    sites = shuffled[: data.draw(st.integers(1, 5))]
    offsets = st.integers(-int(tokens.lengths.min()), -1)
    positions = data.draw(st.lists(offsets, min_size=1, max_size=3, unique=True))
    assert_capture_is_plain(model, hf_model, tokens, placements, sites, positions)
    stacked = capture(model, tokens, placements, sites=sites, positions=positions).double()
    moments = capture_moments(model, tokens, placements, sites=sites, positions=positions)
    scale = stacked.square().mean().clamp_min(1)
    assert moments.n == len(tokens)
    assert_near(moments.mean / scale, stacked.mean(0) / scale)
    assert_near(moments.squared_norm / scale, stacked.square().sum(-1).mean(0) / scale)
    if len(tokens) > 1:
        assert_near(moments.variance / scale, stacked.var(0) / scale)


@settings(max_examples=100)
@given(st.sampled_from(VARIANTS), prompts(), st.data())
def test_continuation_kl_equals_the_kl_of_plain_forwards(
    variant: str, tokens: Tokens, data: st.DataObject
) -> None:
    """An empty answer counts the first prediction alone."""
    placements = data.draw(placements_on(tokens))
    random = Random(data.draw(SEEDS))
    answers = [drawn_ids(random, data.draw(st.integers(0, 5))) for _ in range(len(tokens))]
    found = continuation_kl(engine_model(variant), tokens, placements, answers=answers)
    hf_model = plain_model(variant)
    for row, (prompt, answer) in enumerate(zip(tokens.sequences(), answers, strict=True)):
        base = plain_answer_log_probs(hf_model, prompt, (), answer)
        edited = plain_answer_log_probs(hf_model, prompt, placements, answer)
        assert_near(found[row], (base.exp() * (base - edited)).sum(-1).mean())


@contextmanager
def ended_by(model: LoadedModel, ends: Sequence[int]) -> Iterator[None]:
    """More tokens that end an answer, so that random models do stop, each row at another step."""
    config = model.hf.config
    before = config.eos_token_id
    config.eos_token_id = [before, *ends]
    try:
        yield
    finally:
        config.eos_token_id = before


@settings(max_examples=120)
@given(st.sampled_from(VARIANTS), prompts(), st.integers(1, 6), st.data())
def test_cached_generation_equals_greedy_generation_by_full_recomputation(
    variant: str, tokens: Tokens, n: int, data: st.DataObject
) -> None:
    model, hf_model = engine_model(variant), plain_model(variant)
    rules: Sequence[Positions] = ("all", "generated", "prompt", (0,), (-1,))
    placements = data.draw(placements_on(tokens, rules, fewest=0))
    ends = Random(data.draw(SEEDS)).sample(range(VOCABULARY), data.draw(st.sampled_from([0, 60])))
    finished: list[int] = []
    with ended_by(model, ends):
        answers = generate(model, tokens, placements, max_new_tokens=n, progress=finished.append)
        assert sum(finished) == len(answers) == len(tokens)
        for prompt, answer in zip(tokens.sequences(), answers, strict=True):
            wanted, tied = plain_generation(model, hf_model, prompt, placements, n)
            assert answer[: len(wanted)] == wanted
            assert tied or len(answer) == len(wanted)


def test_prompts_that_do_not_fit_one_pass_equal_the_plain_forward() -> None:
    random = Random(1)
    shared = drawn_ids(random, 12)
    tails = [drawn_ids(random, random.randrange(1, 60)) for _ in range(130)]
    tokens = batch([shared + tail for tail in tails], pad_id=0)
    b1, b2, b3 = orthonormal(0)
    placements = [
        Placement(ablate(b1, b2), tuple(everywhere(N_LAYERS))),
        Placement(Add(3 * b3), (Site(2, "mid"),), (-1, 0)),
    ]
    model, hf_model = engine_model("llama"), plain_model("llama")
    continuations = [[40, 41], [40, 42]]
    assert_readout_is_plain(model, hf_model, tokens, placements, continuations)
    assert_readout_is_plain(model, hf_model, tokens, placements[1:], continuations)
    assert_text_is_plain(model, hf_model, tokens, placements)
    assert_capture_is_plain(model, hf_model, tokens, placements)


@settings(max_examples=80)
@given(st.sampled_from(FAMILIES), prompts(), st.data())
def test_bf16_has_the_same_best_token_wherever_it_is_clear(
    variant: str, tokens: Tokens, data: st.DataObject
) -> None:
    placements = data.draw(placements_on(tokens, fewest=0))
    model, hf_model = (make(variant, torch.bfloat16) for make in (engine_model, plain_model))
    found = readout(model, tokens, placements).log_probs
    for row, prompt in enumerate(tokens.sequences()):
        logits = plain_forward(hf_model, prompt, edits_of(placements, len(prompt)))[0][-1].float()
        best, second = logits.topk(2).values.tolist()
        assert best - second <= 0.25 or int(found[row].argmax()) == int(logits.argmax())


# --- several calls --------------------------------------------------------------------------------


def engine_parameters(model: LoadedModel) -> dict[str, tuple[nn.Module, str]]:
    """Module and attribute of every parameter, by the name the plain model has for it."""
    found: dict[str, tuple[nn.Module, str]] = {}
    for path, module in model.hf.named_modules(remove_duplicate=False):
        for attribute in module._parameters:
            name = f"{path}.{attribute}".replace("_original_component.", "")
            found.setdefault(name, (module, attribute))
    return found


@cache
def untied_twin(variant: str) -> Any:
    return plain_copy(variant.removesuffix(" tied"))


@torch.no_grad()
def recomputed(model: LoadedModel, variant: str) -> Any:
    """A plain model with the weights that the engine's model has now."""
    twin, own = untied_twin(variant), engine_parameters(model)
    for name, parameter in twin.named_parameters():
        module, attribute = own[name]
        parameter.copy_(getattr(module, attribute))
    return twin


@contextmanager
def written_in_place(parameter: nn.Parameter, write: Callable[[nn.Parameter], object]) -> Any:
    """`parameter.data.mul_()` leaves no trace on the parameter: neither its id nor its version."""
    before = parameter.detach().clone()
    with torch.no_grad():
        write(parameter)
    try:
        yield
    finally:
        parameter.data.copy_(before)


@contextmanager
def replaced(module: nn.Module, attribute: str) -> Any:
    before = getattr(module, attribute)
    setattr(module, attribute, nn.Parameter(before.detach() * 1.5, requires_grad=False))
    try:
        yield
    finally:
        setattr(module, attribute, before)


@dataclass(frozen=True)
class Change:
    """What happens to the weights before a call, and is undone after it."""

    kind: str
    parameter: str
    seed: int

    def __call__(self, model: LoadedModel) -> AbstractContextManager[object]:
        module, attribute = engine_parameters(model)[self.parameter]
        parameter = getattr(module, attribute)
        match self.kind:
            case "none":
                return nullcontext()
            case "multiplied":
                return written_in_place(parameter, lambda p: p.data.mul_(1.5))
            case "added":
                return written_in_place(parameter, lambda p: p.add_(0.5 * p.flip(0) + 0.05))
            case "replaced":
                return replaced(module, attribute)
        b1, b2, _ = orthonormal(self.seed)
        return orthogonalised(model, torch.stack([b1, b2]))


CALLS = ("readout", "readout", "continuations", "capture", "text")
SPLIT = ("c_attn", "qkv_proj", "gate_up_proj")
"""Matrices that the bridge of TransformerLens reads by views of their parts, taken at boot: it sees
what is written into them, not what replaces them."""


@st.composite
def changes(draw: st.DrawFn, variant: str) -> Change:
    """Any parameter but the head's: what is kept of the head has its own tests below."""
    names = {name for name, _ in untied_twin(variant).named_parameters()} - {"lm_head.weight"}
    if variant.endswith("tied"):
        names.remove("model.embed_tokens.weight")
    name = draw(st.sampled_from(sorted(names)))
    kinds = ["none", "none", "multiplied", "added"]
    kinds += [] if any(part in name for part in SPLIT) else ["replaced"]
    kinds += [] if variant.startswith("gemma3") else ["orthogonalised"]
    return Change(draw(st.sampled_from(kinds)), name, draw(SEEDS))


@settings(max_examples=100)
@given(
    st.sampled_from((*VARIANTS, "llama tied")),
    st.lists(prompts(), min_size=1, max_size=2),
    st.data(),
)
def test_calls_in_a_row_with_weights_changed_between_them_equal_the_plain_forward(
    variant: str, token_sets: list[Tokens], data: st.DataObject
) -> None:
    """The same tokens again, as the same object or as an equal one, from other layers."""
    model = engine_model(variant)
    for _ in range(data.draw(st.integers(2, 5), label="calls")):
        tokens = data.draw(st.sampled_from(token_sets))
        tokens = deepcopy(tokens) if data.draw(st.booleans(), label="equal tokens") else tokens
        placements = data.draw(placements_on(tokens, fewest=0))
        with data.draw(changes(variant))(model):
            hf_model = recomputed(model, variant)
            match data.draw(st.sampled_from(CALLS)):
                case "readout":
                    assert_readout_is_plain(model, hf_model, tokens, placements)
                case "continuations":
                    continuations = data.draw(CONTINUATIONS)
                    assert_readout_is_plain(model, hf_model, tokens, placements, continuations)
                case "capture":
                    sites = data.draw(st.permutations(ALL_SITES))[: data.draw(st.integers(1, 3))]
                    assert_capture_is_plain(model, hf_model, tokens, placements, sites)
                case "text":
                    assert_text_is_plain(model, hf_model, tokens, placements)


@pytest.mark.parametrize("kind", ["multiplied", "added", "replaced"])
@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_a_change_below_the_restart_counts_at_once_and_so_does_its_undoing(
    layer: int, kind: str
) -> None:
    model, tokens = engine_model("llama"), two_prompts()
    placements = [Placement(Add(2 * orthonormal(0)[0]), (Site(3, "mid"),), (-1, 0))]
    for now in ("none", kind, "none"):
        with Change(now, f"model.layers.{layer}.mlp.down_proj.weight", 0)(model):
            hf_model = recomputed(model, "llama")
            assert_readout_is_plain(model, hf_model, tokens, placements, [[40, 41]])
            assert_readout_is_plain(model, hf_model, tokens, [], [[40, 41]])


@pytest.mark.parametrize("kind", ["multiplied", "added", "replaced"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_changed_head_counts_at_once_and_so_does_its_undoing(
    kind: str, dtype: torch.dtype
) -> None:
    """Not to the last digit, for bf16: the changes move log probabilities by more than 1."""
    model, tokens = engine_model("llama", dtype), two_prompts()
    before = readout(model, tokens).log_probs
    with Change(kind, "lm_head.weight", 0)(model):
        hf_model = recomputed(model, "llama")
        wanted = [plain_log_probs(hf_model, prompt, ())[-1] for prompt in tokens.sequences()]
        assert (torch.stack(wanted) - before).abs().max() > 1
        assert (torch.stack(wanted) - readout(model, tokens).log_probs).abs().max() < 0.5
    assert_near(readout(model, tokens).log_probs, before)


def test_a_tied_head_that_was_untied_for_a_while_follows_its_embedding_again() -> None:
    model, tokens = engine_model.__wrapped__("llama tied"), two_prompts()
    name = "model.embed_tokens.weight"
    for kind in ("orthogonalised", "none", "multiplied", "none"):
        with Change(kind, name, 0)(model):
            assert_readout_is_plain(model, recomputed(model, "llama tied"), tokens, [])


def test_tokens_changed_in_place_count_at_once() -> None:
    model, hf_model, tokens = engine_model("llama"), plain_model("llama"), two_prompts()
    placements = [Placement(Add(2 * orthonormal(0)[0]), (Site(2, "pre"),), (-1,))]
    assert_readout_is_plain(model, hf_model, tokens, placements)
    tokens.ids[0, 5] = 99
    assert_readout_is_plain(model, hf_model, tokens, placements)
    tokens.prefix[2] = 98
    assert_readout_is_plain(model, hf_model, tokens, placements)


def test_a_vector_changed_in_place_counts_at_once() -> None:
    model, hf_model, tokens = engine_model("llama"), plain_model("llama"), two_prompts()
    push = Add(2 * orthonormal(0)[0])
    for factor in (1, -1, 3):
        push.vector.mul_(factor)
        placements = [Placement(push, (Site(1, "post"),))]
        assert_readout_is_plain(model, hf_model, tokens, placements)


# --- what calls leave behind ----------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """Everything of a model that a call could leave changed."""

    modules: dict[str, int]
    torch_hooks: dict[str, tuple[int, int]]
    parameters: dict[str, tuple[int, Tensor]]
    attention: str

    @classmethod
    def of(cls, model: LoadedModel) -> "Snapshot":
        modules = dict(model.hf.named_modules(remove_duplicate=False))
        own = dict(model.hf.named_parameters(remove_duplicate=False))
        return cls(
            {name: id(module) for name, module in modules.items()},
            {n: (len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in modules.items()},
            {name: (id(p), p.detach().clone()) for name, p in own.items()},
            model.hf.config._attn_implementation,
        )

    def assert_same(self, model: LoadedModel) -> None:
        now = Snapshot.of(model)
        assert now.modules == self.modules
        assert now.torch_hooks == self.torch_hooks
        assert now.attention == self.attention
        assert now.parameters.keys() == self.parameters.keys()
        for name, (identity, values) in self.parameters.items():
            assert now.parameters[name][0] == identity
            assert torch.equal(now.parameters[name][1], values)
        points = [m for m in model.bridge.modules() if isinstance(m, HookPoint)]
        points += list(model.bridge.hook_dict.values())
        assert not any(point.fwd_hooks or point.bwd_hooks for point in points)


@cache
def booted(variant: str) -> tuple[LoadedModel, Snapshot]:
    """A model of its own and what it was before its first call: no call at all may change it."""
    model = engine_model.__wrapped__(variant)
    return model, Snapshot.of(model)


Call = Callable[[LoadedModel, Tokens, Sequence[Placement]], object]
ANY_CALL: dict[str, Call] = {
    "readout": readout,
    "text": text_log_probs,
    "capture": lambda m, t, p: capture(m, t, p, sites=ALL_SITES, positions=(-1,)),
    "moments": lambda m, t, p: capture_moments(m, t, p, sites=ALL_SITES, positions=(-1,)),
}
ANSWERING_CALL: dict[str, Call] = {
    "continuations": lambda m, t, p: readout(m, t, p, continuations=[[40, 41], [40, 42, 43]]),
    "generation": lambda m, t, p: generate(m, t, p, max_new_tokens=4),
    "answers": lambda m, t, p: continuation_kl(m, t, p, answers=[[40, 41]] * len(t)),
}


def failing_with(error: type[BaseException]) -> Intervention:
    def fail(h: Tensor) -> Tensor:
        raise error("from inside an intervention")

    return fail


@settings(max_examples=80)
@given(
    st.sampled_from(VARIANTS),
    prompts(),
    st.sampled_from([RuntimeError, KeyboardInterrupt, None]),
    st.sampled_from(ALL_SITES),
    st.data(),
)
def test_every_call_leaves_the_model_as_it_was_also_when_an_intervention_fails(
    variant: str,
    tokens: Tokens,
    error: type[BaseException] | None,
    site: Site,
    data: st.DataObject,
) -> None:
    """The failure comes at any site, in the prefix, the prompts or only in what follows them."""
    (model, snapshot), hf_model = booted(variant), plain_model(variant)
    before = readout(model, tokens).log_probs
    answering = data.draw(st.booleans(), label="in what follows the prompts")
    calls = ANSWERING_CALL if answering else ANY_CALL
    call = calls[data.draw(st.sampled_from(sorted(calls)))]
    rule = data.draw(
        st.sampled_from(["generated", (0,)] if answering else ["all", "prompt", (-1,)])
    )
    others = data.draw(placements_on(tokens, fewest=0))
    if error is None:
        call(model, tokens, others)
    else:
        if answering:
            first = {int(row.argmax()) for row in readout(model, tokens, others).log_probs}
            assume(not first <= model.end_tokens)
        with pytest.raises(error, match="from inside"):
            call(model, tokens, [*others, Placement(failing_with(error), (site,), rule)])
    snapshot.assert_same(model)
    assert_near(readout(model, tokens).log_probs, before)
    assert_readout_is_plain(model, hf_model, tokens, others, [[40, 41]])
