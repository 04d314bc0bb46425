"""Hooks that others have set on a model.

The engine leaves components out, runs many prompts in one row and goes on from states it has kept.
Hooks of its user would be dropped by that, or their edits be kept as clean states; where there are
any, it runs plainly instead.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from torch import nn
from transformer_lens.hook_points import HookPoint

from interp.errors import ActivationError

LIBRARIES = ("transformers.", "transformer_lens.")
"""Packages with hooks of their own on every model, which collect what the package is asked for."""

FORWARD_HOOKS = (itemgetter("_forward_hooks"), itemgetter("_forward_pre_hooks"))


def set_by_user(hook: Callable) -> bool:
    """Whether a hook is not a library's own; what hook points call is a function of the user's."""
    origin = str(getattr(hook, "__module__", None))
    return origin == HookPoint.__module__ or not origin.startswith(LIBRARIES)


def any_set_by_user(attributes: Sequence[dict[str, Any]]) -> bool:
    """Whether torch would call a user's forward hook or pre-hook on modules with these attributes.

    As dictionaries they are read several times faster, and there are thousands.
    """
    return any(
        any(map(set_by_user, hooks.values()))
        for kind in FORWARD_HOOKS
        for hooks in filter(None, map(kind, attributes))
    )


class UserHooks:
    """Looks for hooks on the modules of a model: hook points, bridge components, plain modules.

    Permanent ones count as well. Backward hooks do not: nothing here is differentiated.
    """

    def __init__(self, bridge: nn.Module, hf_model: Any):
        modules = dict.fromkeys([*bridge.modules(), *hf_model.modules()])
        self.attributes = [vars(module) for module in modules]
        head = hf_model.get_output_embeddings()
        self.never_run = {
            "the bridge itself": bridge,
            "the Hugging Face model itself": hf_model,
            **dict(head.named_modules(prefix="unembed")),
        }

    def present(self) -> bool:
        """Whether there are any."""
        return any_set_by_user(self.attributes)

    def check(self) -> None:
        """Raise ActivationError for a hook on what the engine does not run: it would not fire."""
        for name, module in self.never_run.items():
            if any_set_by_user([vars(module)]):
                raise ActivationError(
                    f"The hook at {name} cannot be honoured: only the body of the model is run "
                    "here, and the states that are asked for are multiplied by the unembedding "
                    "matrix directly. Remove the hook, set it at ln_final.hook_out or an earlier "
                    "point, or run the model by model.bridge.run_with_hooks."
                )
