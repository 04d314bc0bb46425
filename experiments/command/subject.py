"""What a command works on: a direction from a file, and the model that it is a direction of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from interp.errors import ExperimentError

if TYPE_CHECKING:
    from interp.directions import Direction
    from interp.models import LoadedModel

FILE_NAME = "direction.safetensors"
REPORT = "report.md"  # of `interp find`, which leaves no direction where it finds none

DirectionPath = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DIRECTION")]]


@dataclass(frozen=True)
class Shape:
    """What a model's configuration says of it: nothing is loaded for that."""

    n_layers: int
    d_model: int
    family: str
    dtype: str


def read_directions(path: Path) -> list[Direction]:
    """The directions of a file, or of `direction.safetensors` in a folder; at least one.

    Raises ExperimentError where there is no such file, ActivationError where it holds none.
    """
    from interp.directions import load_directions
    from interp.errors import ActivationError

    file = path / FILE_NAME if path.is_dir() else path
    if file != path and (path / REPORT).is_file() and not file.is_file():
        raise ExperimentError(
            f"No direction was found for this behaviour: {path / REPORT} says why. Try openings "
            "that answers do begin with, more prompts and more varied ones, or a larger model."
        )
    if not file.is_file():
        raise ExperimentError(
            f"There is no direction at {file}. Expected a .safetensors file of "
            f"interp.save_directions, or a folder that holds it as {FILE_NAME}."
        )
    found = load_directions(file)
    if not found:
        raise ActivationError(f"{file} holds no direction; expected at least one.")
    return found


def model_name(given: str | None, direction: Direction) -> str:
    """The model that is named, else the one that the direction was taken from.

    Raises ExperimentError where the direction does not say, or names what is not registered: files
    of one's own are recorded by their last name alone.
    """
    if given is not None:
        return given
    from interp.assets.registry import models
    from interp.assets.tiny import TINY_RANDOM

    recorded = direction.provenance.get("model")
    if recorded is None:
        raise ExperimentError("The direction does not say of which model it is. Give --model NAME.")
    if recorded not in models() and recorded != TINY_RANDOM:
        raise ExperimentError(
            f"The direction is of '{recorded}', which is not a registered model. Say where that "
            "lies with --model: a file, a folder or a hub id."
        )
    return recorded


def read_shape(name: str) -> Shape:
    """Layers, width, family and dtype of a model, from its configuration alone."""
    from interp.assets.tiny import TINY_RANDOM, tiny_config, tiny_tokenizer

    if name == TINY_RANDOM:
        return _shape(tiny_config("llama", len(tiny_tokenizer()), n_layers=4, tied=False))
    from transformers import AutoConfig

    from interp.assets.folders import model_folder
    from interp.errors import ModelError, raised_as

    folder = model_folder(name)
    with raised_as(
        ModelError, f"'{name}' cannot be used", "Its config.json is missing or damaged."
    ):
        return _shape(AutoConfig.from_pretrained(folder, trust_remote_code=False))


def _shape(config: Any) -> Shape:
    text = config.get_text_config()
    dtype = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    return Shape(text.num_hidden_layers, text.hidden_size, config.model_type, dtype)


def check_fit(name: str, shape: Shape, direction: Direction) -> None:
    """Raise ExperimentError for a direction of another width, or of a layer that is not there."""
    width, site = len(direction.unit), direction.site
    if width != shape.d_model:
        raise ExperimentError(
            f"The direction has {width} numbers, but {name} is {shape.d_model} wide. Give the "
            "model that it was taken from."
        )
    if site is not None and site.layer >= shape.n_layers:
        raise ExperimentError(
            f"The direction is of {site}, but {name} has layers 0 to {shape.n_layers - 1}. Give "
            "the model that it was taken from."
        )


def other_weights(name: str, direction: Direction) -> str | None:
    """A line that says that the direction is of other weights, where both are known."""
    from interp.assets.folders import identity

    recorded = direction.provenance.get("sha256")
    if not recorded or recorded == (found := identity(name)):
        return None
    return f"Note: the direction is of weights {recorded[:12]}, and {name} has {found[:12]}."


def load_as_stored(name: str, shape: Shape) -> LoadedModel:
    """The model in the dtype of its files, on the processor; float16 becomes float32, exactly."""
    from interp.models import load

    dtype = "bfloat16" if shape.dtype == "bfloat16" else "float32"
    return load(name, dtype=dtype, device="cpu")


def stored_dtype(name: str) -> str:
    """The one dtype that all weights of a model are stored in, bfloat16 or float32.

    Raises ModelError for others and for mixed ones, which loading would convert.
    """
    from safetensors import safe_open

    from interp.assets.checkpoints import weight_files
    from interp.assets.folders import model_folder
    from interp.assets.tiny import TINY_RANDOM
    from interp.errors import ModelError, raised_as

    if name == TINY_RANDOM:
        return "float32"
    found = set()
    with raised_as(ModelError, f"'{name}' cannot be read", "Download it again."):
        for path in weight_files(model_folder(name)):
            with safe_open(path, framework="pt") as file:
                found |= {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    if found not in ({"BF16"}, {"F32"}):
        raise ModelError(
            f"{name} holds weights in {', '.join(sorted(found)) or 'no dtype'}. A lock gives back "
            "every bit of weights that are all bfloat16 or all float32: save the model in one of "
            "them."
        )
    return "bfloat16" if found == {"BF16"} else "float32"
