"""Teaching a model answers: a LoRA on a copy of it, merged, as a model of its own.

The update of every linear map but the head is a product of two thin matrices (Hu et al. 2021, arXiv
2106.09685), by peft. The loss is the mean negative log probability of the tokens of the answer and
of the one that ends it; the prompt is read and not learnt.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.assets.checkpoints import quiet_transformers
from interp.errors import ActivationError, DataError
from interp.exports.formats import plain_model
from interp.models import LoadedModel, from_huggingface
from interp.prompts import Style, encode, left_padded, pad_token, render
from interp.sites import Site

IGNORED = -100  # label of a token that is not learnt
LARGEST_NORM = 1.0  # of the gradient; a longer one is shortened
Example = tuple[list[int], list[int]]
"""Token ids, and as many labels."""


def tuned(
    model: LoadedModel,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    steps: int,
    rank: int = 8,
    learning_rate: float = 1e-3,
    batch_size: int = 8,
    seed: int = 0,
    style: Style = "template",
    site: Site | None = None,
    moved: Float[Tensor, "sample d_model"] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> LoadedModel:
    """A new model that answers these prompts, put in `style`, with these answers.

    AdamW without weight decay, in float32, in which the new model stays; no dropout. The seed draws
    the LoRA and the order of the examples, all of which are seen before any is seen again. The
    given model is left as it is. `progress` is called with the number of steps taken and the loss
    of the last (nats per token, before the step). An answer begins where the prompt ends: without a
    template give it the space or the line break that it needs.

    With a `site`, a `pre` one, each example is learnt while its row of `moved` is added there to
    the state of every token, of prompt and answer alike; a row of zeros leaves it as it is. The new
    model is without them: what was added is for the caller to add again (`Direction.add`).

    Raises DataError where there is nothing to tune on, or not one answer (and one row of `moved`)
    for each prompt; ActivationError for a site that is not the `pre` of a block of the model;
    PromptError for a template that is not there.
    """
    _check(prompts, answers, steps)
    moves = _moves(model, len(prompts), site, moved)
    examples = [_example(model, *pair, style) for pair in zip(prompts, answers, strict=True)]
    plain = _copy(model)
    block = None if site is None else _block(model, plain, site)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = _adapted(plain, rank)
    weights = [part for part in adapted.parameters() if part.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
    batches = _batches(len(examples), batch_size, seed)
    for step in range(1, steps + 1):
        rows = next(batches)
        with nullcontext() if block is None else _moving(block, moves[rows]):
            loss = _loss(adapted, [examples[row] for row in rows], pad_token(model))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, LARGEST_NORM)
        optimiser.step()
        if progress is not None:
            progress(step, float(loss.detach()))
    merged = adapted.merge_and_unload().eval()
    return from_huggingface(
        merged, _as_it_is(model.tokenizer), f"{model.info.name} tuned", random=model.info.random
    )


def _check(prompts: Sequence[str], answers: Sequence[str], steps: int) -> None:
    if len(prompts) != len(answers):
        raise DataError(
            f"{len(prompts)} prompts and {len(answers)} answers: give one answer for each prompt."
        )
    if not prompts or not all(answers):
        raise DataError("There is nothing to tune on: give prompts, and answers with some text.")
    if steps < 1:
        raise DataError(f"steps is {steps}; expected a whole number, at least 1.")


def _moves(
    model: LoadedModel, n: int, site: Site | None, moved: Float[Tensor, "sample d_model"] | None
) -> Float[Tensor, "sample d_model"]:
    """What is added for each example, float32 on the model's device; empty without a site."""
    if site is None and moved is None:
        return torch.empty(0)
    if site is None or moved is None or moved.shape != (n, model.d_model):
        shape = "nothing" if moved is None else list(moved.shape)
        raise DataError(
            f"To move states give a site and a vector for each of {n} prompts, [{n}, "
            f"{model.d_model}]; got {shape} at {site or 'no site'}."
        )
    return moved.to(model.device, torch.float32)


def _block(model: LoadedModel, plain: Any, site: Site) -> torch.nn.Module:
    """The block of a plain Hugging Face model that a `pre` site enters."""
    if site.stream != "pre" or not 0 <= site.layer < model.n_layers:
        raise ActivationError(
            f"States cannot be moved at {site} while a model is tuned: expected 0.pre to "
            f"{model.n_layers - 1}.pre."
        )
    parts = model.bridge.adapter.component_mapping
    assert parts is not None  # a bridge that has been booted has blocks
    return plain.get_submodule(f"{parts['blocks'].name}.{site.layer}")


@contextmanager
def _moving(block: torch.nn.Module, moves: Float[Tensor, "sample d_model"]) -> Iterator[None]:
    """Add a vector to every state of each sample that enters the block, inside a `with` block."""

    def hook(_: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        """The block's arguments with its states moved."""
        if args:
            return (args[0] + moves[:, None], *args[1:]), named
        return args, named | {"hidden_states": named["hidden_states"] + moves[:, None]}

    handle = block.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _example(model: LoadedModel, prompt: str, answer: str, style: Style) -> Example:
    """The prompt, the answer and the token that ends it; only the latter two are labels."""
    asked = encode(model, render(model, prompt, style), style)
    said = model.tokenizer.encode(answer, add_special_tokens=False)
    said = [*said, model.tokenizer.eos_token_id]
    return [*asked, *said], [IGNORED] * len(asked) + said


def _as_it_is(tokenizer: Any) -> Any:
    """A copy of a bridge's tokenizer that the next bridge takes without loading it anew.

    TransformerLens reloads, from the place it came from, a tokenizer that does not say that it adds
    a beginning-of-text token; one that was made in code came from nowhere.
    """
    kept = copy.copy(tokenizer)
    kept.init_kwargs = {"name_or_path": "", **tokenizer.init_kwargs, "add_bos_token": True}
    return kept


def _copy(model: LoadedModel) -> Any:
    """The Hugging Face model without a bridge, in float32, with weights of its own."""
    shell = plain_model(model)
    made = type(shell)(shell.config)
    made.load_state_dict(shell.state_dict())
    made.generation_config = shell.generation_config
    made.tie_weights()
    return made.to(model.device, torch.float32).eval()


def _adapted(hf_model: Any, rank: int) -> Any:
    """The model under peft, with a LoRA on every linear map but the head."""
    from peft import LoraConfig, get_peft_model  # here: it takes seconds to import

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with quiet_transformers(), catch_warnings():
        simplefilter("ignore")
        return get_peft_model(hf_model, config)


def _batches(n: int, size: int, seed: int) -> Iterator[list[int]]:
    """Rows of n examples, without end; every one comes once before any comes again."""
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += rng.permutation(n).tolist()
        yield waiting[:size]
        del waiting[:size]


def _loss(adapted: Any, batch: Sequence[Example], pad: int) -> Float[Tensor, ""]:
    """Mean negative log probability of the labels, in nats; the head reads no more than it must."""
    device = adapted.device
    ids, mask = (part.to(device) for part in left_padded([ids for ids, _ in batch], pad))
    labels = left_padded([labels for _, labels in batch], IGNORED)[0].to(device)
    wanted = int((labels != IGNORED).sum(1).max())
    found = adapted(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp_min(0),
        logits_to_keep=wanted + 1,
        use_cache=False,
    ).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        found.float().transpose(1, 2), labels[:, -wanted:], ignore_index=IGNORED
    )
