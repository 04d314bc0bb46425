"""Sites of the residual stream: a layer and a stream, and the TransformerLens hook that reads it.

`pre` is the residual entering a block, `mid` the residual after attention, `post` the residual
leaving the block. Reading is direct. Writing at `mid` is not: see `mid_hooks` of
`interp.engine.writing`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import total_ordering
from typing import Literal, cast, get_args

from interp.errors import ActivationError

Stream = Literal["pre", "mid", "post"]

DEPTH_WITHIN_BLOCK: dict[Stream, float] = {"pre": 0.0, "mid": 0.5, "post": 1.0}


@total_ordering
@dataclass(frozen=True)
class Site:
    """One state of the residual stream, written `12.mid`; sites are ordered by depth."""

    layer: int
    stream: Stream

    def __str__(self) -> str:
        return f"{self.layer}.{self.stream}"

    def __lt__(self, other: "Site") -> bool:
        return (self.depth, self.layer) < (other.depth, other.layer)

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Read `12.mid` back into a site; raises ActivationError on anything else."""
        layer, _, stream = text.partition(".")
        if not layer.isdecimal() or stream not in get_args(Stream):
            raise ActivationError(
                f"'{text}' is not a site: expected LAYER.STREAM with a stream of "
                f"{', '.join(get_args(Stream))}, for example 12.mid."
            )
        return cls(int(layer), cast(Stream, stream))

    @property
    def hook_name(self) -> str:
        """Name of the TransformerLens hook point that reads this site."""
        return f"blocks.{self.layer}.hook_resid_{self.stream}"

    @property
    def depth(self) -> float:
        """Position along the network in blocks: 12.pre is 12.0, 12.mid 12.5, 12.post 13.0."""
        return self.layer + DEPTH_WITHIN_BLOCK[self.stream]


def site_of(site: Site | str) -> Site:
    """A site, or the one of this name; raises ActivationError for a name that is none."""
    return site if isinstance(site, Site) else Site.parse(str(site))


def sites_of(sites: Iterable[Site | str] | Site | str) -> tuple[Site, ...]:
    """Sites, or those of these names, a single one too; ActivationError for what is none."""
    if isinstance(sites, str) or not isinstance(sites, Iterable):
        sites = (sites,)
    return tuple(map(site_of, sites))


def all_sites(n_layers: int, streams: Sequence[Stream] = ("pre", "mid")) -> list[Site]:
    """Every site of the given streams, from the first layer to the last."""
    return sorted(Site(layer, stream) for layer in range(n_layers) for stream in streams)


def everywhere(n_layers: int, has_mid: bool = True) -> list[Site]:
    """Every distinct state of the stream: `pre` and `mid` of each layer, `post` of the last.

    The `post` of a block is the `pre` of the next, so writing there twice would be a repetition.
    """
    streams: tuple[Stream, ...] = ("pre", "mid") if has_mid else ("pre",)
    return [*all_sites(n_layers, streams), Site(n_layers - 1, "post")]
