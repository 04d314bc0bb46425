"""Passes through the blocks of a model with interventions written into them.

TransformerLens components are reduced to what a pass needs: the hook points that carry a hook,
around the plain Hugging Face modules. Blocks below the first intervention are skipped when the
state that enters it is known, and blocks above the last one that is asked for always. None of
this is done while the user has hooks of their own on the model: see `interp.engine.user_hooks`.
"""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, is_dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.generalized_components.block import BlockBridge

from interp.engine.attention import IMPLEMENTATION, Attend, PackedAttention, Stored
from interp.engine.packing import Pack, pack, prefix_tree
from interp.engine.residuals import ResidualStore
from interp.engine.user_hooks import UserHooks
from interp.engine.writing import HookFunction, check_sites, resolve, touched, write_hooks
from interp.interventions import Placement, Positions
from interp.models import LoadedModel
from interp.prompts import batch
from interp.sites import Site

NO_MASK = torch.zeros(1, 1, 1, 1)
"""Four dimensions tell transformers that the mask is ready; the packed attention has its own."""

AGREEMENT = {torch.float32: 1e-3, torch.bfloat16: 0.2}
"""Largest distance between states of a packed and of a plain pass, as share of their norm.

Odd sequences in bf16 are up to .08 apart for rounding alone; a token that is seen too much or too
little puts them about 1 apart.
"""


class Lean(nn.Module):
    """A bridge component reduced to its first and last hook point, around the plain module."""

    def __init__(self, component: GeneralizedComponent):
        super().__init__()
        self.component = [component]  # in a list, so that it is not registered a second time

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The plain module's output, between the two hook points."""
        component = self.component[0]
        if args:
            args = (component.hook_in(args[0]), *args[1:])
        else:
            kwargs["hidden_states"] = component.hook_in(kwargs["hidden_states"])
        output = component.original_component(*args, **kwargs)  # type: ignore[misc]
        if isinstance(output, tuple):
            return (component.hook_out(output[0]), *output[1:])
        return component.hook_out(output)


class Restart(nn.Module):
    """In place of a block below the first write: whatever comes in, the known state goes on."""

    def __init__(self, state: Float[Tensor, "1 token d_model"]):
        super().__init__()
        self.state = state

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The known state."""
        return self.state


class Stop(nn.Module):
    """In place of a block above the last site that is read: its entering state can be read."""

    def __init__(self, component: GeneralizedComponent):
        super().__init__()
        self.component = [component]

    def forward(self, h: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What came in, after its hook point."""
        return self.component[0].hook_in(h)


class Socket:
    """A place in the Hugging Face model where the bridge has put a component."""

    def __init__(self, parent: nn.Module, name: str, component: GeneralizedComponent):
        self.parent, self.name, self.component = parent, name, component
        self.plain = component.original_component
        self.lean, self.stop = Lean(component), Stop(component)

    def put(self, module: nn.Module | None) -> None:
        """Put a module in its place."""
        self.parent._modules[self.name] = module


class Engine:
    """What is found out once about a model: its parts, whether it packs, states already known."""

    def __init__(self, model: LoadedModel):
        self.sockets: list[Socket] = []
        configs, self.owners = {}, []
        for module in model.hf.base_model.modules():
            config = getattr(module, "config", None)
            if hasattr(config, "_attn_implementation"):
                configs[id(config)] = config
            self.owners += [
                (module, name) for name, p in module._parameters.items() if p is not None
            ]
            if not isinstance(module, GeneralizedComponent):
                self.sockets += [
                    Socket(module, name, child)
                    for name, child in module._modules.items()
                    if isinstance(child, GeneralizedComponent)
                ]
        self.configs = list(configs.values())
        self.blocks = [s for s in self.sockets if isinstance(s.component, BlockBridge)]
        self.points = dict(model.bridge.hook_dict)
        self.socket_of = {
            id(point): socket
            for socket in self.sockets
            for point in (socket.component.hook_in, socket.component.hook_out)
        }
        self.residuals = ResidualStore()
        self.user_hooks = UserHooks(model.bridge, model.hf)
        self.open: list[Body] = []
        self.packs: bool | None = None  # not known yet

    def parameters(self) -> list[Tensor]:
        """The parameters of the body as they are now."""
        return [module._parameters[name] for module, name in self.owners]  # type: ignore[misc]


_ENGINES: WeakKeyDictionary[LoadedModel, Engine] = WeakKeyDictionary()


def engine_of(model: LoadedModel) -> Engine:
    """The engine of a model, made once, and checked once there are no hooks of the user's.

    A family whose packed pass does not agree with its plain one gets the plain one from then on,
    with a warning that names it.
    """
    if model not in _ENGINES:
        _ENGINES[model] = Engine(model)
    engine = _ENGINES[model]
    if engine.packs is None and not engine.user_hooks.present():
        problem = packing_problem(model, engine)
        engine.packs = problem is None
        if problem is not None:
            warnings.warn(
                f"{model.info.name} ({model.info.family}) cannot be run in packs: {problem}. Every "
                "prompt is run alone and in full, which is right and several times slower.",
                stacklevel=2,
            )
    return engine


@torch.inference_mode()
def packing_problem(model: LoadedModel, engine: Engine) -> str | None:
    """Why packed passes cannot be used: they fail, or do not give the states of plain passes."""
    vocabulary = model.head.shape[0]
    sequences = [[(7 * i) % vocabulary for i in range(length)] for length in (20, 17)]
    trees = [prefix_tree([[5, 6, 7], [5, 8]]), prefix_tree([[9, 4]])]
    row = pack(batch(sequences, pad_id=0), trees)
    states = []
    for engine.packs in (False, True):
        try:
            with Body(model) as body:
                states.append(body.run(row).float())
        except (NotImplementedError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            return f"{type(error).__name__}: {error}"
    plain, packed = states
    distance = float((packed - plain).norm() / plain.norm())
    allowed = AGREEMENT[model.dtype]
    if distance <= allowed:
        return None
    return f"packed and plain states are {distance:.2g} apart, expected at most {allowed:g}"


def on_device(value: Any, device: torch.device) -> Any:
    """An intervention with its tensors on the device, so that no write has to wait for a copy."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(on_device(part, device) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        moved = {f.name: on_device(getattr(value, f.name), device) for f in fields(value) if f.init}
        return replace(value, **moved)
    return value


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Token ids and the like on the device; to CUDA through pinned memory, without waiting."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Body:
    """The model's body with placements written into it, open while used as a context manager.

    `sites` are read in every pass. On leaving, also by an exception, every hook is gone and every
    module back in its place. Bodies of one model may be open inside each other: only the innermost
    acts. If the user has hooks on the model when a body is opened, its passes are plain ones with
    all components, so that these hooks fire, before its own; raises ActivationError for those that
    would not.
    """

    def __init__(
        self,
        model: LoadedModel,
        placements: Sequence[Placement] = (),
        sites: Sequence[Site] = (),
    ):
        placements = resolve(model, placements)
        check_sites(model, sites)
        written = [site for placement in placements for site in placement.sites or ()]
        self.model, self.engine = model, engine_of(model)
        self.first = min((site.layer for site in written), default=model.n_layers)
        if model.device.type != "cpu":
            placements = [
                replace(p, intervention=on_device(p.intervention, model.device)) for p in placements
            ]
        self.placements, self.sites = placements, sites
        self.read: dict[Site, Tensor] = {}
        self._key: bytes | None = None
        self._places: Tensor | None = None
        self._offsets = torch.zeros(0, dtype=torch.long)
        self._chosen: dict[Positions, Tensor | None] = {}
        self._open = ExitStack()
        self.hooked = False

    @property
    def packs(self) -> bool:
        """Whether passes are packed and reduced; else each prompt is run plainly."""
        return bool(self.engine.packs) and not self.hooked

    def __enter__(self) -> "Body":
        engine = self.engine
        if engine.open:
            engine.open[-1]._open.close()
        engine.open.append(self)
        try:
            engine.user_hooks.check()
            self.hooked = engine.user_hooks.present()
            engine.residuals.check(engine.parameters())
            self._install()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()
        bodies = self.engine.open
        innermost = bodies[-1] is self
        bodies.remove(self)
        if innermost and bodies:
            bodies[-1]._install()

    def _install(self) -> None:
        """Set the hooks and reduce the components, until `_open` is closed."""
        with ExitStack() as stack:
            hooks = self._hooks()
            stack.enter_context(self.model.bridge.hooks(fwd_hooks=hooks))
            if self.packs:
                self._reduce(stack, {name for name, _ in hooks})
            self._open = stack.pop_all()

    def _hooks(self) -> list[tuple[str, HookFunction]]:
        """Keep clean states, then write, then read: what is read at a site is what was written."""

        def keeper(layer: int) -> HookFunction:
            """A hook that stores the clean state entering a layer."""

            def hook(h: Tensor, hook: object) -> None:
                """Store the state, if the pass is clean."""
                if self._key is not None:
                    self.engine.residuals.keep(self._key, layer, h)

            return hook

        def reader(site: Site) -> HookFunction:
            """A hook that hands out the states of a site."""

            def hook(h: Tensor, hook: object) -> None:
                """Take the states at the places that were asked for."""
                self.read[site] = h[0] if self._places is None else h[0, self._places]

            return hook

        # A pass that is read for its sites is run once: keeping its states would only cost memory.
        kept = () if self.sites else range(min(self.first + 1, self.model.n_layers))
        return [
            *((Site(layer, "pre").hook_name, keeper(layer)) for layer in kept),
            *write_hooks(self.placements, self._columns),
            *((site.hook_name, reader(site)) for site in self.sites),
        ]

    def _reduce(self, stack: ExitStack, hooked: set[str]) -> None:
        """Put plain modules in the place of bridge components, until the stack is closed."""
        for config in self.engine.configs:
            before = config._attn_implementation
            stack.callback(setattr, config, "_attn_implementation", before)
            config._attn_implementation = IMPLEMENTATION
        for socket in self.engine.sockets:
            stack.callback(socket.put, socket.component)
            socket.put(socket.plain)
        for name in hooked:
            socket = self.engine.socket_of[id(self.engine.points[name])]
            socket.put(socket.lean)

    def _columns(self, positions: Positions) -> Int[Tensor, " chosen"] | None:
        """Which tokens of the pass under way a placement touches; None for all of them."""
        if positions not in self._chosen:
            chosen = touched(positions, self._offsets)
            indices = to_device(chosen.nonzero()[:, 0], self.model.device)
            self._chosen[positions] = None if bool(chosen.all()) else indices
        return self._chosen[positions]

    def run(
        self, pack: Pack, places: Int[Tensor, " place"] | None = None, stop: bool = False
    ) -> Float[Tensor, "token d_model"]:
        """Final states of all tokens of a pack; the sites' states go to `read`, [token, d_model].

        `places`: the tokens that are read at the sites, all of them unless given. `stop`: skip the
        blocks above the last site; the states returned are then of no use.
        """
        self._places = None if places is None else to_device(places, self.model.device)
        if not self.packs:
            return self.plain(pack)
        with ExitStack() as stack:
            known = self.engine.residuals.nearest(pack.key, self._first_needed())
            if known is not None:
                for block in self.engine.blocks[: known[0]]:
                    self._replace(stack, block, Restart(known[1]))
            for block in self.engine.blocks[self._last() if stop else self.model.n_layers :]:
                self._replace(stack, block, block.stop)
            self._key = pack.key
            return self.packed(pack)

    def _first_needed(self) -> int:
        """The first block that has to run: nothing is written or read below it."""
        return min([self.first, *(site.layer for site in self.sites)])

    def _last(self) -> int:
        """The number of blocks that have to run for the sites to be read."""
        return max(site.layer + (site.stream != "pre") for site in self.sites)

    def _replace(self, stack: ExitStack, block: Socket, module: nn.Module) -> None:
        stack.callback(block.put, block.parent._modules[block.name])
        block.put(module)

    def packed(self, pack: Pack, stored: Stored | None = None) -> Float[Tensor, "token d_model"]:
        """One pass over the whole row; with `stored`, keys and values are put aside there."""
        attend = PackedAttention(pack, self.model.dtype, self.model.device, stored)
        return self._forward(pack.ids, pack.positions, pack.offsets, attend)

    def fill(self, pack: Pack, stored: Stored) -> Float[Tensor, "token d_model"]:
        """Final states of a pack whose keys and values are put aside, of every block."""
        self._key = self._places = None
        return self.packed(pack, stored)

    def step(self, ids: Int[Tensor, " sample"], stored: Stored) -> Float[Tensor, "sample d_model"]:
        """Final states of one more token of every sequence whose keys and values are stored."""
        self._key = self._places = None
        positions = stored.advance()
        return self._forward(ids, positions, torch.full((len(ids),), stored.step), stored)

    def plain(self, pack: Pack) -> Float[Tensor, "token d_model"]:
        """The same one sequence after the other, each by a plain pass of its own.

        Under hooks of the user's these may count from the end of the pass, so that every token
        whose prediction can be asked for is the end of a pass.
        """
        places, self._key = self._places, None
        states = torch.empty(len(pack), self.model.d_model, dtype=self.model.dtype)
        states = states.to(self.model.device)
        read = {site: torch.empty_like(states) for site in self.sites}
        self._places = None
        for row in pack.sequences(every_end=self.hooked):
            found = self._forward(pack.ids[row], pack.positions[row], pack.offsets[row], None)
            states[row] = found
            for site in self.sites:
                read[site][row] = self.read[site]
        self.read = {site: h if places is None else h[places] for site, h in read.items()}
        return states

    def _forward(
        self,
        ids: Int[Tensor, " token"],
        positions: Int[Tensor, " token"],
        offsets: Int[Tensor, " token"],
        attend: Attend | None,
    ) -> Float[Tensor, "token d_model"]:
        """Final-norm states of one row of tokens."""
        self._offsets, self._chosen = offsets, {}
        device = self.model.device
        own_attention = {} if attend is None else {"attend": attend, "attention_mask": NO_MASK}
        output = self.model.hf.base_model(
            input_ids=to_device(ids[None], device),
            position_ids=to_device(positions[None], device),
            use_cache=False,
            **own_attention,
        )
        return output.last_hidden_state[0]
