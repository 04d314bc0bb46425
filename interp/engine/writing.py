"""Writes into the residual stream: which tokens a placement touches, and the hooks that do it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import dropwhile

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from interp.errors import ActivationError
from interp.interventions import (
    Ablate,
    Add,
    Compose,
    Intervention,
    Placement,
    Positions,
    RotateTo,
    Scale,
)
from interp.models import LoadedModel
from interp.prompts import Tokens
from interp.sites import Site

HookFunction = Callable[..., Tensor | None]

Columns = Callable[[Positions], Int[Tensor, " chosen"] | None]
"""Which tokens of the pass under way a placement touches: their indices, or None for all."""


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


def resolve(model: LoadedModel, placements: Sequence[Placement]) -> list[Placement]:
    """The placements with their sites in this model.

    Raises ActivationError for a site that it lacks, and for a vector that is not as wide as it is.
    """
    n_layers, has_mid = model.n_layers, model.info.has_mid
    for placement in placements:
        check_width(model, placement.intervention)
    found = [replace(p, sites=p.sites_in(n_layers, has_mid)) for p in placements]
    check_sites(model, [site for placement in found for site in placement.sites or ()])
    return found


def check_width(model: LoadedModel, intervention: Intervention) -> None:
    """Raise ActivationError for a vector that is not as wide as the model's states."""
    if isinstance(intervention, Compose):
        for part in intervention.parts:
            check_width(model, part)
    elif isinstance(intervention, Ablate | Add | Scale | RotateTo):
        for vector in vars(intervention).values():
            if isinstance(vector, Tensor) and vector.shape[-1:] != (model.d_model,):
                raise ActivationError(
                    f"The states of {model.info.name} are {model.d_model} wide, and an edit has a "
                    f"vector of shape {tuple(vector.shape)}. Take its direction from this model."
                )


def check_positions(tokens: Tokens, positions: Sequence[int]) -> None:
    """Raise ActivationError for a position outside the shortest prompt's own tokens."""
    shortest = int(tokens.lengths.min())
    for position in positions:
        if not -shortest <= position < 0:
            raise ActivationError(
                f"Position {position} is outside the prompts: expected -1 (the last token) to "
                f"{-shortest}, the shortest prompt's first token after the shared prefix."
            )


def check_edits(placements: Sequence[Placement]) -> None:
    """Raise ActivationError for what is no list of placements."""
    listed = isinstance(placements, Sequence)
    for one in placements if listed else [placements]:
        if not (listed and isinstance(one, Placement)):
            kind = type(one).__name__
            raise ActivationError(
                "Edits are a list of placements, such as [direction.ablate()]; got "
                f"{f'a list with {kind}' if listed else f'{kind} outside a list'}."
            )


def check_placements(tokens: Tokens, placements: Sequence[Placement]) -> None:
    """Raise ActivationError for what is no list of placements, or for a position that is missing.

    That is one of the prompt that some prompt lacks.
    """
    check_edits(placements)
    for placement in placements:
        if not isinstance(placement.positions, str):
            check_positions(tokens, [p for p in placement.positions if p < 0])


def touched(positions: Positions, offsets: Int[Tensor, " pos"]) -> Bool[Tensor, " pos"]:
    """Which columns a placement touches, given each column's offset from the prompt's end."""
    if positions == "all":
        return torch.ones_like(offsets, dtype=torch.bool)
    if positions == "prompt":
        return offsets < 0
    if positions == "generated":
        return offsets >= 0
    return torch.isin(offsets, torch.tensor(positions))


def check_countable(positions: Positions) -> None:
    """Raise ActivationError for positions that a hook cannot find by the end of a row alone."""
    if positions == "all" or (not isinstance(positions, str) and all(p < 0 for p in positions)):
        return
    raise ActivationError(
        f"Positions {positions!r} cannot be written by hooks of their own, which do not know where "
        "the prompt ends: expected 'all', or negative offsets from the end of the row such as "
        "(-1,). In a pass over prompts alone 'all' is the same as 'prompt'; otherwise use "
        "interp.readout and interp.generate, which know the prompt."
    )


def from_the_end(
    positions: Positions, h: Float[Tensor, "sample pos d_model"]
) -> Int[Tensor, " chosen"] | None:
    """The columns of h at offsets from its end, or None for all of them."""
    if isinstance(positions, str):
        return None
    width = h.shape[1]
    if any(p < -width for p in positions):
        raise ActivationError(
            f"Position {min(positions)} is outside the row that passes, which holds {width} "
            f"tokens: expected -1 (its last token) to {-width}. In generation on stored keys "
            "every later pass holds one token."
        )
    return touched(positions, torch.arange(-width, 0)).nonzero()[:, 0].to(h.device)


def edit(
    h: Float[Tensor, "sample pos d_model"],
    intervention: Intervention,
    chosen: Int[Tensor, " chosen"] | None,
) -> Float[Tensor, "sample pos d_model"]:
    """The state with the intervention applied to the chosen columns; h itself is not changed."""
    if chosen is None:
        return intervention(h)
    if not len(chosen):
        return h
    return h.index_copy(1, chosen, intervention(h[:, chosen]))


def apply_all(
    placements: Sequence[Placement], columns: Columns | None, h: Float[Tensor, "sample pos d_model"]
) -> Float[Tensor, "sample pos d_model"]:
    """The state after the placements of one site, in order."""
    for placement in placements:
        positions = placement.positions
        chosen = from_the_end(positions, h) if columns is None else columns(positions)
        h = edit(h, placement.intervention, chosen)
    return h


def write_state(
    act: Intervention, h: Float[Tensor, "sample pos d_model"], hook: object
) -> Float[Tensor, "sample pos d_model"]:
    """What a hook at `pre` or `post` leaves in the stream; `mid` knows such hooks by its name."""
    return act(h)


def mid_hooks(site: Site, act: Intervention) -> list[tuple[str, HookFunction]]:
    """Hooks that write f(mid) exactly, by what attention adds: f(pre + attn_out) - pre.

    `hook_resid_mid` itself is an alias of the input of the MLP's norm: what is written there never
    reaches the stream.
    """
    entering: list[Tensor] = []

    def remember(pre: Tensor, hook: HookPoint) -> None:
        """Keep the state that enters the block, with what writes set later leave in it."""
        functions = (handle.user_hook for handle in hook.fwd_hooks)
        for later in dropwhile(lambda function: function is not remember, functions):
            if isinstance(later, partial) and later.func is write_state:
                pre = later(pre, hook)
        entering[:] = [pre]

    def write(attention_out: Tensor, hook: object) -> Tensor:
        """What attention has to add for the stream to hold f(mid)."""
        pre = entering.pop().float()
        return (act(pre + attention_out.float()) - pre).to(attention_out.dtype)

    block = f"blocks.{site.layer}"
    return [(f"{block}.hook_resid_pre", remember), (f"{block}.hook_attn_out", write)]


def write_hooks(
    placements: Sequence[Placement], columns: Columns | None = None
) -> list[tuple[str, HookFunction]]:
    """TransformerLens hooks that write the placements into the residual stream.

    `columns` tells which tokens of the pass under way a placement touches; without it positions
    are counted from the end of the row that passes, see `interp.writes.hooks`. What `mid` remembers
    of `pre` is what all such writes at `pre` leave there, also those of another call.
    """
    for placement in placements:
        if placement.sites is None:
            raise ActivationError("Where is everywhere? Use interp.hooks(model, edits).")
        if columns is None:
            check_countable(placement.positions)
    by_site: dict[Site, list[Placement]] = {}
    for placement in placements:
        for site in placement.sites or ():
            by_site.setdefault(site, []).append(placement)
    hooks: list[tuple[str, HookFunction]] = []
    for site in sorted(by_site):
        act = partial(apply_all, by_site[site], columns)
        if site.stream == "mid":
            hooks += mid_hooks(site, act)
        else:
            hooks.append((site.hook_name, partial(write_state, act)))
    return hooks
