"""The engine does no work that it can skip, survives a full memory, and falls back by name."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from interp.activations import capture
from interp.agreement import TOLERANCES, agreement, in_float32
from interp.engine import body as body_module
from interp.engine.batching import batches, in_batches
from interp.engine.body import engine_of
from interp.engine.packing import pack, prefix_tree
from interp.engine.residuals import ResidualStore
from interp.errors import ActivationError
from interp.generation import generate
from interp.interventions import Add, Placement, ablate
from interp.models import LoadedModel, tiny_random_model
from interp.predict import readout, text_log_probs
from interp.prompts import Tokens, batch, tokenise
from interp.sites import Site, everywhere

PROMPTS = ("Why is the sky blue?", "Tea", "Name three large rivers and where they end.")
CONTINUATIONS = [[40, 41], [40, 42, 43], [44]]


@pytest.fixture
def model() -> LoadedModel:
    """A model of its own, whose engine has been checked and knows no states yet."""
    made = tiny_random_model()
    engine_of(made).residuals.forget()
    return made


@contextmanager
def tokens_run(model: LoadedModel) -> Iterator[Counter]:
    """Counts the tokens that each block's MLP is run on; not by a hook, which would be honoured."""
    run: Counter = Counter()

    def counted(n: int, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def count(h: Tensor) -> Tensor:
            run.update({n: h.shape[1]})
            return forward(h)

        return count

    mlps = [block.mlp.original_component for block in model.bridge.blocks]
    for n, mlp in enumerate(mlps):
        mlp.forward = counted(n, mlp.forward)
    try:
        yield run
    finally:
        for mlp in mlps:
            del mlp.forward


def push(layer: int) -> list[Placement]:
    return [Placement(Add(3 * torch.ones(32)), (Site(layer, "pre"),))]


def test_a_pack_holds_the_prefix_once_and_no_padding() -> None:
    tokens = batch([[*range(3, 20), 30, 31], [*range(3, 20), 40]], pad_id=0)
    row = pack(tokens, [prefix_tree(CONTINUATIONS)] * 2)
    assert len(row) == len(tokens.prefix) + int(tokens.mask.sum()) + 2 * 2
    assert row.ids[row.at(-1)].tolist() == [31, 40]
    assert row.offsets[row.last].tolist() == [-1, -1]
    assert [row.offsets[list(nodes)].tolist() for nodes in row.nodes] == [[0, 1], [0, 1]]
    paths = [row.ids[path].tolist() for path in row.sequences()]
    assert paths == [[*range(3, 20), 30, 31, 40, 42], [*range(3, 20), 40, 40, 42]]


def test_blocks_below_the_first_write_are_skipped_from_the_second_call_on(model) -> None:
    tokens = tokenise(model, PROMPTS)
    n = len(pack(tokens))
    with tokens_run(model) as first:
        readout(model, tokens, push(2))
    with tokens_run(model) as second:
        readout(model, tokens, push(2))
    with tokens_run(model) as deeper:
        readout(model, tokens, push(3))
    assert first == {0: n, 1: n, 2: n, 3: n}
    assert second == {2: n, 3: n}
    assert deeper == {2: n, 3: n}, "the state entering 3 was not clean before"
    with tokens_run(model) as known:
        readout(model, tokens, push(3))
    assert known == {3: n}


def test_capture_stops_after_the_last_site_and_spares_the_tree(model) -> None:
    tokens = tokenise(model, PROMPTS)
    n = len(pack(tokens))
    for site, expected in ((Site(1, "post"), {0: n, 1: n}), (Site(2, "pre"), {0: n, 1: n})):
        engine_of(model).residuals.forget()
        with tokens_run(model) as run:
            capture(model, tokens, sites=[site])
        assert run == expected


def test_what_a_stopped_pass_hands_on_is_not_taken_for_the_states_above(model) -> None:
    tokens = tokenise(model, PROMPTS)
    wanted = readout(tiny_random_model(), tokens).log_probs
    capture(model, tokens, sites=[Site(1, "pre")])
    assert torch.allclose(readout(model, tokens).log_probs, wanted, atol=1e-5)


def test_states_beyond_the_budget_are_computed_again(model) -> None:
    tokens = tokenise(model, PROMPTS)
    wanted = readout(model, tokens, push(3)).log_probs
    store = engine_of(model).residuals
    store.budget_bytes = 1000
    store.forget()
    for _ in range(2):
        with tokens_run(model) as run:
            assert torch.allclose(readout(model, tokens, push(3)).log_probs, wanted, atol=1e-5)
        assert set(run) == {0, 1, 2, 3}


def test_the_store_forgets_what_was_not_used_for_longest() -> None:
    store, state = ResidualStore(budget_bytes=3 * 400), torch.zeros(1, 10, 10)
    for name in (b"a", b"b", b"c"):
        store.keep(name, 0, state.clone())
    assert store.nearest(b"a", 5) is not None
    store.keep(b"d", 2, state.clone())
    assert store.nearest(b"b", 5) is None
    found = store.nearest(b"d", 5)
    assert found is not None and found[0] == 2
    assert store.nearest(b"d", 1) is None


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    tokens = batch([[5] * n for n in (9, 12, 15, 11, 10)], pad_id=0)
    tried: list[int] = []

    def compute(rows: list[int]) -> list[int]:
        tried.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("planted")
        return [10 * row for row in rows]

    found = {row: value for rows, values in in_batches(tokens, 1000, compute)
             for row, value in zip(rows, values, strict=True)}  # fmt: skip
    assert found == {row: 10 * row for row in range(5)}
    assert tried == [5, 2, 3, 1, 2]


def test_a_prompt_that_does_not_fit_alone_is_an_error_and_other_errors_pass() -> None:
    tokens = batch([[5] * 9, [6] * 9], pad_id=0)

    def full(rows: list[int]) -> None:
        raise MemoryError

    def broken(rows: list[int]) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(ActivationError, match="does not fit into memory"):
        list(in_batches(tokens, 1000, full))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        list(in_batches(tokens, 1000, broken))


def test_batches_hold_every_row_once_within_the_budget() -> None:
    tokens = batch([[5] * n for n in range(9, 40)], pad_id=0)
    found = list(batches(tokens, 100, following=3))
    assert sorted(row for rows in found for row in rows) == list(range(31))
    sizes = [int(tokens.lengths[rows].sum()) + 3 * len(rows) for rows in found]
    assert all(size <= 100 or len(rows) == 1 for size, rows in zip(sizes, found, strict=True))


def everything(model: LoadedModel, tokens: Tokens) -> list[Tensor]:
    placements = [
        Placement(ablate(torch.ones(32)), tuple(everywhere(4))),
        Placement(Add(torch.arange(32.0) / 9), (Site(2, "mid"),), (-1, 0)),
    ]
    found = readout(model, tokens, placements, continuations=CONTINUATIONS)
    sites, positions = [Site(1, "pre"), Site(2, "mid"), Site(3, "post")], (-1, -3)
    answers = generate(model, tokens, placements, max_new_tokens=5)
    return [
        found.log_probs,
        found.continuations,
        text_log_probs(model, tokens, placements),
        capture(model, tokens, placements, sites=sites, positions=positions),
        torch.tensor([len(answer) for answer in answers]),
        torch.tensor([token for answer in answers for token in answer]),
    ]


def test_a_family_that_cannot_be_packed_is_run_plainly_and_named_once(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tokenise(model, PROMPTS)
    wanted = everything(model, tokens)
    other = tiny_random_model()

    def unknown(*arguments: object, **options: object) -> None:
        raise NotImplementedError("packed attention does not support `softcap`")

    with monkeypatch.context() as patch:
        patch.setattr(body_module.PackedAttention, "__call__", unknown)
        with pytest.warns(UserWarning, match=r"tiny-random \(llama\).*softcap"):
            engine_of(other)
    assert not engine_of(other).packs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = everything(other, tokens)
    for plain, packed in zip(found, wanted, strict=True):
        assert torch.allclose(plain, packed, atol=1e-4)


def test_sampling_follows_the_distribution_and_its_seed(tiny_model: LoadedModel) -> None:
    tokens = tokenise(tiny_model, ["Why is the sky blue?"] * 2000)
    drawn = generate(tiny_model, tokens, max_new_tokens=1, temperature=1.0, seed=3)
    assert drawn == generate(tiny_model, tokens, max_new_tokens=1, temperature=1.0, seed=3)
    assert drawn != generate(tiny_model, tokens, max_new_tokens=1, temperature=1.0, seed=4)
    expected = readout(tiny_model, tokens[:1]).log_probs[0].exp()
    counts = torch.bincount(torch.tensor([a[0] for a in drawn if a]), minlength=len(expected))
    error = (expected * (1 - expected) / 2000).sqrt()
    assert ((counts / 2000 - expected).abs() <= 5 * error + 1e-3).all()
    cold = generate(tiny_model, tokens[:3], max_new_tokens=6, temperature=1e-4)
    assert cold == generate(tiny_model, tokens[:3], max_new_tokens=6)


def test_an_answer_can_be_kept_from_ending_early(tiny_model: LoadedModel) -> None:
    end = next(iter(tiny_model.end_tokens))
    towards_end = tiny_model.head[end] / tiny_model.head[end].norm()
    placement = Placement(Add(1e4 * towards_end), (Site(3, "post"),))
    tokens = tokenise(tiny_model, PROMPTS)
    answers = generate(tiny_model, tokens, [placement], max_new_tokens=7, min_new_tokens=4)
    assert [len(answer) for answer in answers] == [4, 4, 4]
    assert not any(end in answer for answer in answers)


def test_bf16_is_compared_with_float32_by_name_and_the_weights_come_back() -> None:
    model = tiny_random_model(dtype=torch.bfloat16)
    before = {name: (id(p), p.data_ptr()) for name, p in model.hf.named_parameters()}
    found = agreement(model, PROMPTS, ("Sing.", "Go away", "A house"))
    assert [each.measurement for each in found] == list(TOLERANCES)
    assert all(0 < each.error < 1 for each in found)
    assert before == {name: (id(p), p.data_ptr()) for name, p in model.hf.named_parameters()}
    named = {each.measurement: each for each in found}
    assert named["direction of the class difference"].site in everywhere(4)
    assert "variance over prompts at " in str(named["variance over prompts"])
    with in_float32(model):
        assert model.dtype == torch.float32
        assert max(each.error for each in agreement(model, PROMPTS, PROMPTS[::-1])[:2]) == 0
    assert model.dtype == torch.bfloat16
