"""Clean residuals of passes already run, so that a later intervention need not repeat the blocks
below it.

An intervention whose first write is in block l leaves the states entering blocks 0 to l as they
are. They are kept, least recently used out first, within a budget of memory; what has gone is
simply computed again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from interp.engine.fingerprint import Fingerprint, fingerprint

BUDGET_BYTES = 2 * 2**30
State = Float[Tensor, "1 token d_model"]


@dataclass(eq=False)
class ResidualStore:
    """States entering blocks, by pack and block; forgets all of them when the weights change."""

    budget_bytes: int = BUDGET_BYTES
    _states: OrderedDict[bytes, dict[int, State]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _weights: Fingerprint | None = None

    def check(self, parameters: Sequence[Tensor]) -> None:
        """Forget everything if the parameters are not those that the states were made with.

        See `interp.engine.fingerprint` for what tells; after an edit that it may not see, call
        `forget`.
        """
        found = fingerprint(parameters)
        if found != self._weights:
            self.forget()
            self._weights = found

    def forget(self) -> None:
        """Drop all states."""
        self._states.clear()
        self._bytes = 0

    def nearest(self, key: bytes, block: int) -> tuple[int, State] | None:
        """The highest block up to `block` whose entering state is kept, with that state."""
        states = self._states.get(key, {})
        known = [layer for layer in states if layer <= block]
        if not known:
            return None
        self._states.move_to_end(key)
        return max(known), states[max(known)]

    def keep(self, key: bytes, block: int, state: State) -> None:
        """Keep the state entering a block; a single pack larger than the budget is not kept."""
        states = self._states.setdefault(key, {})
        if block in states:
            return
        states[block] = state
        self._bytes += state.nbytes
        while self._bytes > self.budget_bytes:
            _, dropped = self._states.popitem(last=False)
            self._bytes -= sum(held.nbytes for held in dropped.values())
