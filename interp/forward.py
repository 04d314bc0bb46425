"""Forward passes under interventions: next-token readouts, damage on text, greedy generation.

Every pass runs the Hugging Face body inside the TransformerLens bridge, whose hook points carry
the interventions. The prompts' shared prefix is computed once per call at batch one and shared as
key-value cache; only the positions that are asked for reach the unembedding.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformers import DynamicCache

from interp.errors import ActivationError
from interp.interventions import Intervention, Placement, Positions
from interp.models import LoadedModel, unembed
from interp.prompts import Tokens
from interp.sites import Site

TOKENS_PER_BATCH = 2048
TEXT_TOKENS_PER_BATCH = 512
ROWS_PER_GENERATION = 64
PREFIX_OFFSET = -1_000_000
"""Offset given to prefix tokens: before any position that can be named."""

HookFunction = Callable[..., Tensor | None]


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


def touched(positions: Positions, offsets: Int[Tensor, " pos"]) -> Bool[Tensor, " pos"]:
    """Which columns a placement touches, given each column's offset from the prompt's end."""
    if positions == "all":
        return torch.ones_like(offsets, dtype=torch.bool)
    if positions == "prompt":
        return offsets < 0
    if positions == "generated":
        return offsets >= 0
    return torch.isin(offsets, torch.tensor(positions))


def edit(
    h: Float[Tensor, "sample pos d_model"],
    intervention: Intervention,
    columns: Bool[Tensor, " pos"],
) -> Float[Tensor, "sample pos d_model"]:
    """The state with the intervention applied to the chosen columns; h itself is not changed."""
    if bool(columns.all()):
        return intervention(h)
    chosen = columns.nonzero()[:, 0].to(h.device)
    if not len(chosen):
        return h
    return h.index_copy(1, chosen, intervention(h[:, chosen]))


def apply_all(
    placements: Sequence[Placement],
    offsets: Callable[[], Int[Tensor, " pos"]],
    h: Float[Tensor, "sample pos d_model"],
) -> Float[Tensor, "sample pos d_model"]:
    """The state after the placements of one site, in order."""
    for placement in placements:
        h = edit(h, placement.intervention, touched(placement.positions, offsets()))
    return h


def mid_hooks(site: Site, act: Intervention) -> list[tuple[str, HookFunction]]:
    """Hooks that write f(mid) exactly, by what attention adds: f(pre + attn_out) - pre.

    `hook_resid_mid` itself is an alias of the input of the MLP's norm: what is written there never
    reaches the stream.
    """
    entering: list[Tensor] = []

    def remember(pre: Tensor, hook: object) -> None:
        entering.append(pre)

    def write(attention_out: Tensor, hook: object) -> Tensor:
        pre = entering.pop().float()
        return (act(pre + attention_out.float()) - pre).to(attention_out.dtype)

    block = f"blocks.{site.layer}"
    return [(f"{block}.hook_resid_pre", remember), (f"{block}.hook_attn_out", write)]


def write_hooks(
    placements: Sequence[Placement], offsets: Callable[[], Int[Tensor, " pos"]]
) -> list[tuple[str, HookFunction]]:
    """TransformerLens hooks that write the placements into the residual stream.

    `offsets` tells each column's offset from the prompt's end in the pass under way. Sites are
    taken by depth, so what `mid` remembers of `pre` is what a write at `pre` left there.
    """
    by_site: dict[Site, list[Placement]] = {}
    for placement in placements:
        for site in placement.sites:
            by_site.setdefault(site, []).append(placement)
    hooks: list[tuple[str, HookFunction]] = []
    for site in sorted(by_site):
        act = partial(apply_all, by_site[site], offsets)
        if site.stream == "mid":
            hooks += mid_hooks(site, act)
        else:
            hooks.append((site.hook_name, lambda h, hook, act=act: act(h)))
    return hooks


def check_sites(model: LoadedModel, sites: Sequence[Site]) -> None:
    """Raise ActivationError for a site that the model does not have."""
    for site in sites:
        if not 0 <= site.layer < model.n_layers:
            raise ActivationError(
                f"{model.info.name} has layers 0 to {model.n_layers - 1}; there is no site {site}."
            )
        if site.stream == "mid" and not model.info.has_mid:
            raise ActivationError(
                f"{model.info.name} runs attention and MLP in parallel, so it has no `mid` state; "
                "use the streams pre and post."
            )


class Body:
    """The model's body with placements written into it, open while used as a context manager.

    On leaving, also by an exception, every hook is gone.
    """

    def __init__(
        self,
        model: LoadedModel,
        placements: Sequence[Placement] = (),
        reads: Sequence[tuple[str, HookFunction]] = (),
    ):
        check_sites(model, [site for placement in placements for site in placement.sites])
        self.model = model
        self.offsets = torch.zeros(0, dtype=torch.long)
        hooks = [*write_hooks(placements, lambda: self.offsets), *reads]
        self.hooks = model.bridge.hooks(fwd_hooks=hooks)

    def __enter__(self) -> "Body":
        self.hooks.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.hooks.__exit__(*exception)

    def __call__(
        self,
        ids: Int[Tensor, "sample pos"],
        mask: Shaped[Tensor, "sample *seen"],
        offsets: Int[Tensor, " pos"],
        cache: DynamicCache,
        position_ids: Int[Tensor, "sample pos"] | None = None,
    ) -> Float[Tensor, "sample pos d_model"]:
        """Final-norm states of new tokens.

        The mask spans the cached tokens too: 0 and 1 per token, from which positions are counted;
        or additive over queries and keys, with the positions given.
        """
        self.offsets = offsets
        if position_ids is None:
            position_ids = (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        device = self.model.device
        output = self.model.hf.base_model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=position_ids.to(device),
            past_key_values=cache,
            use_cache=True,
        )
        return output.last_hidden_state

    def prefix_cache(self, prefix: Int[Tensor, " prefix"]) -> DynamicCache:
        """Key-value cache of the shared prefix at batch one."""
        cache = DynamicCache(config=self.model.hf.config)
        if len(prefix):
            offsets = torch.full((len(prefix),), PREFIX_OFFSET)
            self(prefix[None], torch.ones_like(prefix)[None], offsets, cache)
        return cache

    def prompt(
        self, tokens: Tokens, prefix_cache: DynamicCache
    ) -> tuple[Float[Tensor, "sample pos d_model"], Int[Tensor, "sample all_pos"], DynamicCache]:
        """States of the prompts' own tokens, the full mask, and the cache that now holds them."""
        cache = deepcopy(prefix_cache)
        if len(tokens.prefix):
            cache.batch_repeat_interleave(len(tokens))
        seen = torch.ones((len(tokens), len(tokens.prefix)), dtype=torch.long)
        mask = torch.cat([seen, tokens.mask], dim=1)
        width = tokens.ids.shape[1]
        return self(tokens.ids, mask, torch.arange(-width, 0), cache), mask, cache


def outgrows_window(model: LoadedModel, length: int) -> bool:
    """Whether some layer attends to a sliding window shorter than `length` tokens."""
    window = getattr(model.hf.config, "sliding_window", None)
    return window is not None and length > window


def batches(
    model: LoadedModel, tokens: Tokens, budget: int = TOKENS_PER_BATCH, following: int = 0
) -> Iterator[list[int]]:
    """Rows in batches of similar length, each of at most `budget` tokens with its padding.

    Sliding-window attention counts padding as distance, so where prompts and the tokens
    `following` them outgrow the window, a batch holds rows of one length only.
    """
    lengths = tokens.lengths.tolist()
    alike = outgrows_window(model, len(tokens.prefix) + max(lengths) + following)
    rows: list[int] = []
    for row in tokens.lengths.argsort(stable=True).tolist():
        full = (len(rows) + 1) * lengths[row] > budget
        if rows and (full or (alike and lengths[row] != lengths[rows[0]])):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def check_positions(tokens: Tokens, positions: Sequence[int]) -> None:
    """Raise ActivationError for a position outside the shortest prompt's own tokens."""
    shortest = int(tokens.lengths.min())
    for position in positions:
        if not -shortest <= position < 0:
            raise ActivationError(
                f"Position {position} is outside the prompts: expected -1 (the last token) to "
                f"{-shortest}, the shortest prompt's first token after the shared prefix."
            )


def check_placements(tokens: Tokens, placements: Sequence[Placement]) -> None:
    """Raise ActivationError when a placement names a prompt position that some prompt lacks."""
    for placement in placements:
        if not isinstance(placement.positions, str):
            check_positions(tokens, [p for p in placement.positions if p < 0])


@torch.inference_mode()
def readout(
    model: LoadedModel,
    tokens: Tokens,
    placements: Sequence[Placement] = (),
    continuations: Sequence[Sequence[int]] = (),
) -> Readout:
    """Next-token log probabilities and teacher-forced log probabilities of continuations.

    The continuations' distinct prefixes are run in one pass on the prompts' cache, so openings that
    share their first tokens cost once.
    """
    check_placements(tokens, placements)
    log_probs = torch.empty(len(tokens), model.head.shape[0])
    scores = torch.zeros(len(tokens), len(continuations), dtype=torch.float64)
    longest = max(map(len, continuations), default=0)
    with Body(model, placements) as body:
        prefix = body.prefix_cache(tokens.prefix)
        for rows in batches(model, tokens, following=longest):
            states, mask, cache = body.prompt(tokens[rows], prefix)
            first = unembed(model, states[:, -1], exact=True).log_softmax(-1).cpu()
            log_probs[rows] = first
            if continuations:
                scores[rows] = continuation_log_probs(body, continuations, first, mask, cache)
    if not torch.isfinite(log_probs).all():
        raise ActivationError(
            f"{model.info.name} gives logits that are not finite under this intervention; use a "
            "smaller coefficient or load the model in float32."
        )
    return Readout(log_probs, scores)


@dataclass(frozen=True)
class PrefixTree:
    """The proper prefixes of several continuations, each token run once.

    tokens: one id per node. ancestors: for every node, the nodes on its path, itself last.
    following: for every node, the continuations that go on from there, each with its next token.
    """

    tokens: tuple[int, ...]
    ancestors: tuple[tuple[int, ...], ...]
    following: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def depths(self) -> Int[Tensor, " node"]:
        """Offset of every node after the prompt; 0 for a first token."""
        return torch.tensor([len(path) - 1 for path in self.ancestors])

    def attends(self) -> Bool[Tensor, "node node"]:
        """Which node sees which: those on its own path."""
        seen = torch.zeros(len(self.tokens), len(self.tokens), dtype=torch.bool)
        for node, path in enumerate(self.ancestors):
            seen[node, list(path)] = True
        return seen


def prefix_tree(continuations: Sequence[Sequence[int]]) -> PrefixTree:
    """Merge what continuations have in common: `I'm sorry` and `I cannot` share their `I`."""
    nodes: dict[tuple[int, ...], int] = {}
    following: list[list[tuple[int, int]]] = []
    for index, continuation in enumerate(continuations):
        for step in range(1, len(continuation)):
            begun = tuple(continuation[:step])
            if begun not in nodes:
                nodes[begun] = len(nodes)
                following.append([])
            following[nodes[begun]].append((index, continuation[step]))
    paths = [tuple(nodes[begun[: n + 1]] for n in range(len(begun))) for begun in nodes]
    tokens = tuple(begun[-1] for begun in nodes)
    return PrefixTree(tokens, tuple(paths), tuple(tuple(pairs) for pairs in following))


def continuation_log_probs(
    body: Body,
    continuations: Sequence[Sequence[int]],
    first: Float[Tensor, "sample vocab"],
    mask: Int[Tensor, "sample all_pos"],
    cache: DynamicCache,
) -> Float[Tensor, "sample continuation"]:
    """log p(continuation) by the chain rule, in float64; adds to the prompts' cache.

    `first` holds the log probabilities of the first token. The others are predicted at the nodes
    of the continuations' prefix tree, all run in one pass.
    """
    scores = torch.stack([first[:, c[0]] for c in continuations], dim=1).double()
    tree = prefix_tree(continuations)
    if not tree.tokens:
        return scores
    states = all_node_states(body, tree, mask, cache)
    for node, following in enumerate(tree.following):
        log_probs = unembed(body.model, states[:, node]).log_softmax(-1).cpu()
        for index, token in following:
            scores[:, index] += log_probs[:, token].double()
    return scores


def all_node_states(
    body: Body, tree: PrefixTree, mask: Int[Tensor, "sample all_pos"], cache: DynamicCache
) -> Float[Tensor, "sample node d_model"]:
    """States of the tree's nodes: in one pass, or path by path where a sliding window slides.

    Layers with a window forget old keys, so one mask for all layers cannot be laid over them.
    """
    depth = int(tree.depths.max()) + 1
    if not outgrows_window(body.model, mask.shape[1] + depth):
        return tree_states(body, tree, mask, cache)
    states: dict[int, Tensor] = {}
    for path in tree.ancestors:
        ids = torch.tensor([[tree.tokens[node] for node in path]] * len(mask))
        full_mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        found = body(ids, full_mask, torch.arange(len(path)), deepcopy(cache))
        states[path[-1]] = found[:, -1]
    return torch.stack([states[node] for node in range(len(tree.tokens))], dim=1)


def tree_states(
    body: Body, tree: PrefixTree, mask: Int[Tensor, "sample all_pos"], cache: DynamicCache
) -> Float[Tensor, "sample node d_model"]:
    """Final states of the tree's nodes after every prompt: each node sees its prompt and its path.

    The additive mask [sample, 1, node, all_pos + node] takes the place of the causal one.
    """
    n_nodes = len(tree.tokens)
    before = mask.bool()[:, None].expand(-1, n_nodes, -1)
    seen = torch.cat([before, tree.attends().expand(len(mask), -1, -1)], dim=2)[:, None]
    lowest = torch.finfo(body.model.dtype).min
    additive = torch.where(seen, 0.0, lowest).to(body.model.dtype)
    ids = torch.tensor(tree.tokens).expand(len(mask), -1)
    position_ids = mask.sum(1, keepdim=True) + tree.depths
    return body(ids, additive, tree.depths, cache, position_ids)


@torch.inference_mode()
def text_log_probs(
    model: LoadedModel,
    tokens: Tokens,
    placements: Sequence[Placement] = (),
    budget: int = TEXT_TOKENS_PER_BATCH,
) -> Float[Tensor, "sample pos vocab"]:
    """Next-token log probabilities at every token of ordinary text, float32; 0 where padded.

    Takes 4 bytes per text, token and vocabulary entry: 16 texts of 64 tokens are 0.6 GB at 152k.
    """
    found = torch.zeros(*tokens.ids.shape, model.head.shape[0])
    with Body(model, placements) as body:
        prefix = body.prefix_cache(tokens.prefix)
        for rows in batches(model, tokens, budget):
            states, _, _ = body.prompt(tokens[rows], prefix)
            found[rows, -states.shape[1] :] = unembed(model, states).log_softmax(-1).cpu()
    return found


@torch.inference_mode()
def text_damage(
    model: LoadedModel,
    tokens: Tokens,
    placements: Sequence[Placement],
    base: Float[Tensor, "sample pos vocab"] | None = None,
) -> TextDamage:
    """KL and next-token loss on ordinary text, over all of its own tokens.

    `base` is `text_log_probs` of the unedited model, to be passed when several edits are measured.
    """
    base = text_log_probs(model, tokens) if base is None else base
    edited = text_log_probs(model, tokens, placements)
    weight = tokens.mask[:, :-1].double()
    following = tokens.ids[:, 1:, None]
    per_token = (
        (base.exp() * (base - edited)).sum(-1)[:, :-1],
        -edited[:, :-1].gather(2, following)[..., 0],
        -base[:, :-1].gather(2, following)[..., 0],
    )
    return TextDamage(*((weight * v.double()).sum(1) / weight.sum(1) for v in per_token))


@torch.inference_mode()
def continuation_kl(
    model: LoadedModel,
    tokens: Tokens,
    answers: Sequence[Sequence[int]],
    placements: Sequence[Placement],
    budget: int = 1024,
) -> Float[Tensor, " sample"]:
    """KL(base || edited) per prompt, averaged over the answer's tokens, teacher-forced.

    The first term is the prediction of the answer's first token. An empty answer gives that alone.
    """
    values = torch.zeros(len(tokens), dtype=torch.float64)
    for rows in batches(model, tokens, budget, max(map(len, answers))):
        chosen = [list(answers[row]) for row in rows]
        base, counted = _answer_log_probs(model, tokens[rows], chosen, ())
        edited, _ = _answer_log_probs(model, tokens[rows], chosen, placements)
        kl = (base.exp() * (base - edited)).sum(-1).double()
        values[rows] = (kl * counted).sum(1) / counted.sum(1)
    return values


def _answer_log_probs(
    model: LoadedModel,
    tokens: Tokens,
    answers: Sequence[Sequence[int]],
    placements: Sequence[Placement],
) -> tuple[Float[Tensor, "sample pos vocab"], Float[Tensor, "sample pos"]]:
    width = max(1, *(len(answer) for answer in answers))
    ids = torch.tensor([[*answer, *[0] * (width - len(answer))] for answer in answers])
    lengths = torch.tensor([max(1, len(answer)) for answer in answers])
    with Body(model, placements) as body:
        states, mask, cache = body.prompt(tokens, body.prefix_cache(tokens.prefix))
        full_mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        answered = body(ids, full_mask, torch.arange(width), cache)
    states = torch.cat([states[:, -1:], answered[:, :-1]], dim=1)
    counted = (torch.arange(width)[None] < lengths[:, None]).double()
    return unembed(model, states).log_softmax(-1).cpu(), counted


@torch.inference_mode()
def generate(
    model: LoadedModel,
    tokens: Tokens,
    max_new_tokens: int,
    placements: Sequence[Placement] = (),
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Greedy answers as lists of new token ids, without the end-of-text token.

    Nothing of the model's own generation config applies (no repetition penalty, no sampling).
    `progress` is called with the number of prompts finished after each batch.
    """
    check_placements(tokens, placements)
    answers: list[list[int]] = [[] for _ in range(len(tokens))]
    budget = ROWS_PER_GENERATION * int(tokens.lengths.max())
    with Body(model, placements) as body:
        prefix = body.prefix_cache(tokens.prefix)
        for rows in batches(model, tokens, budget, max_new_tokens):
            found = _generate_batch(body, tokens[rows], prefix, max_new_tokens)
            for row, answer in zip(rows, found, strict=True):
                answers[row] = answer
            if progress is not None:
                progress(len(rows))
    return answers


def _generate_batch(
    body: Body, tokens: Tokens, prefix: DynamicCache, max_new_tokens: int
) -> list[list[int]]:
    model = body.model
    states, mask, cache = body.prompt(tokens, prefix)
    ends = torch.tensor(sorted(model.end_tokens))
    answers: list[list[int]] = [[] for _ in range(len(tokens))]
    running = torch.ones(len(tokens), dtype=torch.bool)
    for step in range(max_new_tokens):
        chosen = unembed(model, states[:, -1]).argmax(-1).cpu()
        running &= ~torch.isin(chosen, ends)
        for row in running.nonzero()[:, 0].tolist():
            answers[row].append(int(chosen[row]))
        if not running.any() or step + 1 == max_new_tokens:
            break
        mask = torch.cat([mask, torch.ones(len(tokens), 1, dtype=mask.dtype)], dim=1)
        states = body(chosen[:, None], mask, torch.tensor([step]), cache)
    return answers
