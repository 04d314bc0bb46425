"""Edits as hooks for TransformerLens code of your own."""

from collections.abc import Sequence

from interp.engine.writing import HookFunction, check_edits, resolve, write_hooks
from interp.interventions import Placement
from interp.models import LoadedModel


def hooks(model: LoadedModel, edits: Sequence[Placement]) -> list[tuple[str, HookFunction]]:
    """Edits as TransformerLens hooks, for `bridge.hooks` and `run_with_hooks` of your own.

    Around `run_with_cache` use `bridge.hooks(fwd_hooks=...)`. Such hooks see rows of tokens and no
    prompts: positions may be "all", or negative offsets, which are counted from the end of the row
    that passes (prompts of one length, or padded on the left). In `bridge.generate` with its cache
    a later pass is one token, at -1. The lists of several calls may be joined. A hook of your own
    that writes at `hook_resid_pre` has to be set before an edit at `mid` of that block, which does
    not see it otherwise. Raises ActivationError for other positions, for a site that the model
    lacks, and in a pass over a row that is too short.
    """
    check_edits(edits)
    return write_hooks(resolve(model, edits))
