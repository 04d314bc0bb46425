"""Clean residuals of passes already run, so that a later intervention need not repeat the blocks
below it.

An intervention whose first write is in block l leaves the states entering blocks 0 to l as they
are. They are kept, least recently used out first, within a budget of memory; what has gone is
simply computed again.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

BUDGET_BYTES = 2 * 2**30
SAMPLED = 16  # entries of every parameter that tell whether it was changed in place

State = Float[Tensor, "1 token d_model"]
Fingerprint = tuple[tuple[tuple[int, int], ...], bytes]


@dataclass(eq=False)
class ResidualStore:
    """States entering blocks, by pack and block; forgets all of them when the weights change."""

    budget_bytes: int = BUDGET_BYTES
    _states: OrderedDict[bytes, dict[int, State]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _weights: Fingerprint | None = None

    def check(self, parameters: Sequence[Tensor]) -> None:
        """Forget everything if the parameters are not those that the states were made with.

        Told by address, version counter and 16 entries of each: an edit through `.data` of fewer
        entries than that may go unseen; call `forget` after one.
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


def fingerprint(parameters: Sequence[Tensor]) -> Fingerprint:
    """Address and version of every parameter, and some of its entries, spread over its diagonal."""
    identities = tuple((p.data_ptr(), p._version) for p in parameters)
    joined = torch.cat([spread(p.detach()).to("cpu", torch.float32) for p in parameters])
    return identities, joined.numpy().tobytes()


def spread(parameter: Tensor) -> Float[Tensor, " sampled"]:
    """Up to 16 entries, all in rows and columns of their own."""
    entries = parameter.diagonal() if parameter.ndim == 2 else parameter.flatten()
    return entries[:: max(1, len(entries) // SAMPLED)][:SAMPLED]
