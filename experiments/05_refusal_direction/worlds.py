"""Planted models for experiment 05, in which a word of the prompt decides whether it is refused."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from experiments.lab.lab import Lab
from experiments.lab.planted_model import Bend, Design, planted_lab
from experiments.lab.worlds import World
from interp.models import LoadedModel
from interp.weights import residual_writers

from .protocol import Config

CONFIG = Config(
    n_sites=2, n_train=20, n_validation=6, answer_tokens=6, n_text=2, text_tokens=6,
    factors=(0.0,),
)  # fmt: skip
planted = partial(Design, topic=12.0)
FAR, NEAR = 0.97, 0.26  # sine and cosine of 75 degrees
PLANE = ((NEAR, FAR), (NEAR, -FAR), (0.7, 0.7), (0.7, -0.7))
EACH = tuple(tuple(float(i == j) for j in range(3)) for i in range(3))


class Adapted(nn.Linear):
    """A linear map with an adapter that was not merged into its weight."""

    adapter: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Both."""
        return super().forward(x) + x @ self.adapter.T


def with_adapter(model: LoadedModel) -> None:
    """Put what the last layer's attention writes into an adapter."""
    written = [w for w in residual_writers(model) if w.name.endswith("o_proj.weight")]
    layer = written[-1].module
    layer.__class__ = Adapted
    layer.register_buffer("adapter", layer.weight.detach().clone())
    layer.weight.zero_()


def world(
    name: str,
    design: Design,
    true: str = "",
    false: str = "",
    mark: str = "",
    change: Callable[[LoadedModel], None] = lambda model: None,
) -> World:
    """A world, with the letters of the claims that are true in it, and of those that are false."""
    truth = {f"05{letter}": letter in true for letter in sorted(true + false)}

    def lab(seed: int) -> Lab:
        """One draw."""
        return planted_lab(design, seed, mark=mark, change=change)

    return World(name, truth, lab)


one = (1.0, 0.0)  # codes of words, and what bends read
other = (0.0, 1.0)
WORLDS = (
    world("one direction", planted(), "abcde"),
    world("every layer has its own axis", planted(axes=(0, 1, 2, 3, 4), gains=(0.6,) * 5), "abcde"),
    world("a third of the words is too weak to be refused",
          planted(codes=((1.0,), (0.7,), (0.1,))), "abcd"),
    world("nothing is refused", planted(strength=0.0), false="abcde"),
    world("each of three axes suffices",
          planted(codes=EACH, bends=[Bend(1.0, code=code) for code in EACH], strength=3.0),
          false="ad"),
    world("refusal fills a plane, not a line",
          planted(codes=PLANE, strength=3.0,
                  bends=[Bend(1.0, code=code) for code in (one, other, (0.0, -1.0))]), false="ad"),
    world("the contrast set differs more by another word than by harm",
          planted(codes=(one,), words={"with": (0.0, 3.0)}, strength=3.0), false="ad", mark="with"),
    world("needs a second sign that is read late, and saturates",
          planted(codes=(one,), late=other, strength=3.0, bias=0.65,
                  bends=(Bend(1.0, code=one), Bend(-1.0, 1.6, one), Bend(1.0, code=other))),
          false="b"),
    world("is wiped and written anew by the last layer",
          planted(gains=(0.0, -1.0, -1.0, -1.0, 0.0), late=(1.0,)), "ad", "b"),
    world("carries the wording of harmless answers", planted(second=2.0, lean=0.15), "ad", "c"),
    world("carries a little of it", planted(second=2.0, lean=0.05), "ad", "c"),
    world("shares a part with every state", planted(second=2.0, shared=0.3), false="c"),
    world("an adapter writes it again", planted(late=(1.0,)), "ab", "d", change=with_adapter),
    world("a step", planted(bends=(Bend(20.0, 1.85), Bend(-20.0, 2.05))), false="e"),
    world("less before more", planted(bends=(Bend(-4.0), Bend(10.0, 1.5))), false="e"),
    world("up and down", planted(bends=(Bend(5.0), Bend(-11.5, 0.77), Bend(10.0, 1.5))), false="e"),
)  # fmt: skip
