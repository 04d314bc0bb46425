"""What a model predicts under interventions: next tokens, continuations, damage on text.

Prompts are packed into rows of tokens (`interp.engine.packing`), and a pass runs no more blocks
than the interventions need (`interp.engine.body`). Only the tokens that are asked for reach the
unembedding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.engine.batching import in_batches, token_budget
from interp.engine.body import Body
from interp.engine.head import unembed
from interp.engine.packing import PrefixTree, pack, prefix_tree
from interp.engine.writing import check_placements
from interp.errors import ActivationError
from interp.interventions import Placement
from interp.models import LoadedModel
from interp.prompts import Prompts, Tokens, texts_of, tokens_of

TEXT_TOKENS_PER_BATCH = 512
"""Tokens whose whole predictions are held at once; each takes 4 bytes per vocabulary entry."""

HEAD_ROWS = 128
"""States that go through the head at once where little of their predictions is kept."""


@dataclass(frozen=True, eq=False)
class Readout:
    """What the model predicts after each prompt.

    log_probs: float32 next-token log probabilities. continuations: float64 log probability of
    each whole continuation, teacher-forced.
    """

    log_probs: Float[Tensor, "sample vocab"]
    continuations: Float[Tensor, "sample continuation"]


@dataclass(frozen=True, eq=False)
class TextDamage:
    """Per text, averaged over its tokens: KL(base || edited) and next-token losses, in nats."""

    kl: Float[Tensor, " sample"]
    loss: Float[Tensor, " sample"]
    base_loss: Float[Tensor, " sample"]


@torch.inference_mode()
def readout(
    model: LoadedModel,
    prompts: Prompts,
    edits: Sequence[Placement] = (),
    *,
    continuations: Sequence[Sequence[int]] = (),
) -> Readout:
    """Next-token log probabilities and teacher-forced log probabilities of continuations.

    The continuations' distinct prefixes follow each prompt in the same pass, so openings that share
    their first tokens cost once. Raises PromptError as `tokenise` does, and ActivationError for an
    edit that cannot be, and for logits that are not finite.
    """
    tokens = tokens_of(model, prompts)
    check_placements(tokens, edits)
    tree = prefix_tree(continuations)
    log_probs = torch.empty(len(tokens), model.head.shape[0])
    scores = torch.zeros(len(tokens), len(continuations), dtype=torch.float64)
    with Body(model, edits) as body:

        def compute(rows: list[int]) -> tuple[Tensor, Tensor]:
            """Next-token and continuation log probabilities of one batch of prompts."""
            row = pack(tokens[rows], [tree] * len(rows))
            states = body.run(row)
            first = unembed(model, states[row.last], exact=True).log_softmax(-1)
            nodes = states[torch.tensor(row.nodes, dtype=torch.long)]
            return first.cpu(), continuation_log_probs(model, continuations, tree, first, nodes)

        budget = token_budget(model)
        for rows, found in in_batches(tokens, budget, compute, len(tree.tokens)):
            log_probs[rows], scores[rows] = found
    if not torch.isfinite(log_probs).all():
        raise ActivationError(
            f"{model.info.name} gives logits that are not finite under this intervention; use a "
            "smaller coefficient or load the model in float32."
        )
    return Readout(log_probs, scores)


def continuation_log_probs(
    model: LoadedModel,
    continuations: Sequence[Sequence[int]],
    tree: PrefixTree,
    first: Float[Tensor, "sample vocab"],
    nodes: Float[Tensor, "sample node d_model"],
) -> Float[Tensor, "sample continuation"]:
    """log p(continuation) by the chain rule, in float64.

    `first` holds the log probabilities of the first token; the others are predicted at the nodes of
    the continuations' prefix tree.
    """
    scores = first[:, [continuation[0] for continuation in continuations]].double()
    at_once = max(1, HEAD_ROWS // max(1, len(nodes)))
    for start in range(0, len(tree.tokens), at_once):
        log_probs = unembed(model, nodes[:, start : start + at_once]).log_softmax(-1)
        for node, following in enumerate(tree.following[start : start + at_once]):
            for index, token in following:
                scores[:, index] += log_probs[:, node, token].double()
    return scores.cpu()


@torch.inference_mode()
def text_log_probs(
    model: LoadedModel,
    tokens: Tokens,
    edits: Sequence[Placement] = (),
    *,
    budget: int = TEXT_TOKENS_PER_BATCH,
) -> Float[Tensor, "sample pos vocab"]:
    """Next-token log probabilities at every token of ordinary text, float32; 0 where padded.

    Takes 4 bytes per text, token and vocabulary entry: 16 texts of 64 tokens are 0.6 GB at 152k.
    """
    found = torch.zeros(*tokens.ids.shape, model.head.shape[0])
    for row, log_probs in each_text(model, tokens, edits, budget):
        found[row, -len(log_probs) :] = log_probs
    return found


def each_text(
    model: LoadedModel, tokens: Tokens, edits: Sequence[Placement], budget: int
) -> Iterator[tuple[int, Float[Tensor, "pos vocab"]]]:
    """Row and next-token log probabilities of one text after the other, run in batches."""
    check_placements(tokens, edits)
    with Body(model, edits) as body:

        def compute(rows: list[int]) -> Float[Tensor, "token vocab"]:
            """Log probabilities after every token of one batch of texts, in one row."""
            row = pack(tokens[rows])
            return unembed(model, body.run(row)[row.n_prefix :]).log_softmax(-1).cpu()

        for rows, log_probs in in_batches(tokens, budget, compute):
            yield from zip(rows, log_probs.split(tokens.lengths[rows].tolist()), strict=True)


@torch.inference_mode()
def text_damage(
    model: LoadedModel,
    texts: Prompts,
    edits: Sequence[Placement] = (),
    *,
    base: Float[Tensor, "sample pos vocab"] | None = None,
    budget: int = TEXT_TOKENS_PER_BATCH,
) -> TextDamage:
    """KL and next-token loss on ordinary text, over all of its own tokens.

    Texts that are no tokens are cut and taken without a template, see `tokenise_text`. `base` is
    `text_log_probs` of the unedited model, to be passed when several edits are measured. Raises
    PromptError as `tokenise_text` does, and ActivationError for an edit that cannot be.
    """
    tokens = texts_of(model, texts)
    base = text_log_probs(model, tokens, budget=budget) if base is None else base
    damage = torch.zeros(len(tokens), 3, dtype=torch.float64)
    for row, edited in each_text(model, tokens, edits, budget):
        before, after = base[row, -len(edited) : -1], edited[:-1]
        following = tokens.ids[row, -len(after) :, None]
        kl = token_kl(before, after)
        losses = (-part.gather(1, following)[:, 0] for part in (after, before))
        damage[row] = torch.stack([part.double().mean() for part in (kl, *losses)])
    return TextDamage(*damage.T)


def token_kl(
    base: Float[Tensor, "token vocab"], edited: Float[Tensor, "token vocab"]
) -> Float[Tensor, " token"]:
    """KL(base || edited) of log probabilities, in float32.

    This is `scores.kl_divergence` without its second normalisation in float64, which takes several
    times longer on whole texts.
    """
    kl_div = torch.nn.functional.kl_div
    return kl_div(edited, base, reduction="none", log_target=True).sum(-1)


@torch.inference_mode()
def continuation_kl(
    model: LoadedModel,
    tokens: Tokens,
    edits: Sequence[Placement] = (),
    *,
    answers: Sequence[Sequence[int]],
    budget: int = TEXT_TOKENS_PER_BATCH,
) -> Float[Tensor, " sample"]:
    """KL(base || edited) per prompt, averaged over the answer's tokens, teacher-forced.

    The first term is the prediction of the answer's first token. An empty answer gives that alone.
    """
    check_placements(tokens, edits)
    values = torch.zeros(len(tokens), dtype=torch.float64)

    def compute(rows: list[int]) -> list[float]:
        """KL per prompt of one batch."""
        chosen = [answers[row] for row in rows]
        base = answer_log_probs(model, tokens[rows], answers=chosen)
        edited = answer_log_probs(model, tokens[rows], edits, answers=chosen)
        pairs = zip(base, edited, strict=True)
        return [float(token_kl(*pair).double().mean()) for pair in pairs]

    for rows, found in in_batches(tokens, budget, compute, max(map(len, answers))):
        values[rows] = torch.tensor(found, dtype=torch.float64)
    return values


def answer_log_probs(
    model: LoadedModel,
    tokens: Tokens,
    edits: Sequence[Placement] = (),
    *,
    answers: Sequence[Sequence[int]],
) -> list[Float[Tensor, "token vocab"]]:
    """Per prompt, the predictions of its answer's tokens; of the first one if it is empty."""
    row = pack(tokens, [prefix_tree([answer]) for answer in answers])
    with Body(model, edits) as body:
        states = body.run(row)
    pairs = zip(row.last.tolist(), row.nodes, strict=True)
    return [unembed(model, states[[last, *nodes]]).log_softmax(-1).cpu() for last, nodes in pairs]
