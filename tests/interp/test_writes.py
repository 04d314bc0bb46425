"""Our interventions as hooks of the user's own passes: the same numbers as the engine gives."""

import pytest
import torch
from torch import Tensor

from interp.activations import capture
from interp.engine.writing import write_hooks
from interp.errors import ActivationError
from interp.generation import generate
from interp.interventions import Add, Placement, ablate
from interp.models import LoadedModel, tiny_random_model
from interp.predict import readout
from interp.prompts import Tokens, tokenise
from interp.sites import Site
from interp.writes import hooks
from tests.conftest import FAMILIES

PROMPTS = ("Why is the sky blue?", "Tea", "Name three large rivers and where they end.")
POSITIONS = ("all", (-1,), (-3, -1))
STREAMS = ("pre", "mid", "post")
READ = (Site(1, "pre"), Site(1, "mid"), Site(1, "post"), Site(3, "post"))


def placements(stream, positions) -> list[Placement]:
    site = Site(1, stream)
    return [
        Placement(Add(torch.arange(32.0) / 9), (site, Site(2, "mid")), positions),
        Placement(ablate(torch.ones(32)), (site,), (-2,)),
    ]


def padded(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Whole prompts, prefix included, padded on the left, with their mask."""
    whole = [torch.tensor(ids) for ids in tokens.sequences()]
    pad = torch.nn.utils.rnn.pad_sequence
    masks = [torch.ones_like(ids) for ids in whole]
    ids, mask = (pad(rows, batch_first=True, padding_side="left") for rows in (whole, masks))
    return ids, mask


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_hooks_in_a_users_pass_equal_the_engine(family: str, stream, positions) -> None:
    model = tiny_random_model(family)
    tokens, ours = tokenise(model, PROMPTS), placements(stream, positions)
    wanted = readout(model, tokens, ours).log_probs
    states = capture(model, tokens, ours, sites=READ, positions=(-1, -2, -3))
    ids, mask = padded(tokens)
    with torch.inference_mode():
        logits = model.bridge.run_with_hooks(ids, attention_mask=mask, fwd_hooks=write_hooks(ours))
        with model.bridge.hooks(fwd_hooks=write_hooks(ours)):
            cached, cache = model.bridge.run_with_cache(ids, attention_mask=mask)
    assert (wanted - readout(model, tokens).log_probs).abs().max() > 1e-2
    for found in (logits, cached):
        assert torch.allclose(found[:, -1].log_softmax(-1), wanted, atol=1e-4)
    read = torch.stack([cache[site.hook_name][:, [-1, -2, -3]] for site in READ], dim=1)
    assert torch.allclose(read, states, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_edits_of_several_calls_are_those_of_one(family: str, tiny_models) -> None:
    model = tiny_models[family]
    tokens, ids = (
        tokenise(model, PROMPTS[:1]),
        torch.tensor(tokenise(model, PROMPTS[:1]).sequences()),
    )
    mid = Placement(ablate(torch.ones(32)), (Site(1, "mid"),))
    pre = Placement(Add(torch.arange(32.0) / 9), (Site(1, "pre"),))
    run = model.bridge.run_with_hooks
    with torch.inference_mode():
        wanted = run(ids, fwd_hooks=hooks(model, [mid, pre]))
        apart = run(ids, fwd_hooks=[*hooks(model, [mid]), *hooks(model, [pre])])
    assert torch.equal(apart, wanted)
    with model.bridge.hooks(fwd_hooks=hooks(model, [mid])):
        found = readout(model, tokens, [pre]).log_probs
    assert torch.allclose(found, wanted[:, -1].log_softmax(-1), atol=1e-4)


@pytest.mark.parametrize("stream", STREAMS)
def test_hooks_in_cached_generation_of_the_bridge_equal_the_engine(stream, tiny_model) -> None:
    tokens = tokenise(tiny_model, PROMPTS[:1])
    ours = [Placement(Add(torch.arange(32.0) / 9), (Site(1, stream),))]
    ids = torch.tensor(tokens.sequences())
    with tiny_model.bridge.hooks(fwd_hooks=write_hooks(ours)):
        found = tiny_model.bridge.generate(ids, 5, do_sample=False, verbose=False)
    answer = generate(tiny_model, tokens, ours, max_new_tokens=5)[0]
    assert found[0, ids.shape[1] :][: len(answer)].tolist() == answer != []
    assert generate(tiny_model, tokens, max_new_tokens=5)[0] != answer


@pytest.mark.parametrize("positions", ["prompt", "generated", (0,), (-1, 0), (2,)])
def test_positions_that_a_hook_cannot_find_are_refused(positions) -> None:
    with pytest.raises(ActivationError, match="do not know where the prompt ends"):
        write_hooks([Placement(ablate(torch.ones(32)), (Site(1, "pre"),), positions)])


@pytest.mark.parametrize("stream", STREAMS)
def test_a_row_too_short_for_a_position_is_an_error(stream, tiny_model: LoadedModel) -> None:
    hooks = write_hooks([Placement(ablate(torch.ones(32)), (Site(1, stream),), (-4, -1))])
    bridge = tiny_model.bridge
    bridge.run_with_hooks(torch.tensor([[3, 4, 5, 6]]), fwd_hooks=hooks)
    with pytest.raises(ActivationError, match=r"Position -4 is outside.*holds 3 tokens"):
        bridge.run_with_hooks(torch.tensor([[3, 4, 5]]), fwd_hooks=hooks)
