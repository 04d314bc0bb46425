"""Ordinary text on which the damage of an edit is measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from interp.interventions import Placement
from interp.models import LoadedModel
from interp.predict import TextDamage, text_damage, text_log_probs
from interp.prompts import Tokens, tokenise_text


@dataclass(frozen=True, eq=False)
class Passages:
    """The first `n_tokens` tokens of some texts, and what the unedited model predicts there."""

    model: LoadedModel
    texts: tuple[str, ...]
    n_tokens: int

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def tokens(self) -> Tokens:
        """The tokens, without any template."""
        return tokenise_text(self.model, self.texts, self.n_tokens)

    @cached_property
    def base(self) -> Float[Tensor, "text pos vocab"]:
        """Next-token log probabilities of the unedited model."""
        return text_log_probs(self.model, self.tokens)

    def damage(self, placements: Sequence[Placement]) -> TextDamage:
        """Per passage: KL(base || edited) and losses, in nats per token."""
        found = text_damage(self.model, self.tokens, placements, base=self.base)
        # KL of float32 distributions is negative by rounding where nothing changed.
        return replace(found, kl=found.kl.clamp_min(0))
