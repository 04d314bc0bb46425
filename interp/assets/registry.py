"""The registered models and data sets: where each file can be had and the sha256 that it must have.

The numbers live in `registry.json` beside this module; here they become typed, frozen records.
A record says nothing about what is on this machine: `interp.assets.fetch` fetches and verifies.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any

from interp.errors import AssetError, nearest

DEFAULT_MODEL = "qwen2.5-coder-0.5b"


@dataclass(frozen=True)
class Wheel:
    """One wheel on the package index; it is used as an archive and never installed."""

    package: str
    version: str
    sha256: str
    bytes: int

    @property
    def requirement(self) -> str:
        """The pinned requirement line for pip, with its hash."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Part:
    """A member of a wheel that holds a model file, or one consecutive piece of it."""

    wheel: Wheel
    member: str


@dataclass(frozen=True)
class ModelAsset:
    """A model as one GGUF file of `bytes` bytes: the parts, joined in order, have `sha256`."""

    name: str
    file: str
    sha256: str
    bytes: int
    licence: str
    note: str
    hub_repo: str
    architecture_name: str
    parts: tuple[Part, ...]

    @property
    def download_bytes(self) -> int:
        """Bytes to download when the wheels are the source."""
        return sum(part.wheel.bytes for part in self.parts)


@dataclass(frozen=True)
class DataAsset:
    """A data set: some members of one wheel, each with the sha256 that it must have."""

    name: str
    wheel: Wheel
    members: Mapping[str, str]
    licence: str
    count: str
    use: str

    @property
    def download_bytes(self) -> int:
        """Bytes to download."""
        return self.wheel.bytes


def _wheel(entry: Mapping[str, Any]) -> Wheel:
    return Wheel(entry["package"], entry["version"], entry["sha256"], entry["bytes"])


def _model(name: str, entry: Mapping[str, Any]) -> ModelAsset:
    return ModelAsset(
        name=name,
        file=entry["file"],
        sha256=entry["sha256"],
        bytes=entry["bytes"],
        licence=entry["licence"],
        note=entry["note"],
        hub_repo=entry["hub"]["repo"],
        architecture_name=entry["hub"]["architecture_name"],
        parts=tuple(Part(_wheel(part), part["member"]) for part in entry["wheels"]),
    )


def _data(name: str, entry: Mapping[str, Any]) -> DataAsset:
    return DataAsset(
        name=name,
        wheel=_wheel(entry),
        members=MappingProxyType(dict(entry["members"])),
        licence=entry["licence"],
        count=entry["count"],
        use=entry["use"],
    )


@functools.cache
def _raw() -> Mapping[str, Any]:
    return json.loads(resources.files("interp.assets").joinpath("registry.json").read_text("utf-8"))


@functools.cache
def models() -> Mapping[str, ModelAsset]:
    """Every registered model by name, in the order of the registry."""
    entries = _raw()["models"].items()
    return MappingProxyType({name: _model(name, entry) for name, entry in entries})


@functools.cache
def data_sets() -> Mapping[str, DataAsset]:
    """Every registered data set by name, in the order of the registry."""
    entries = _raw()["data"].items()
    return MappingProxyType({name: _data(name, entry) for name, entry in entries})


def _unknown(kind: str, name: str, known: Mapping[str, Any]) -> AssetError:
    return AssetError(f"No {kind} is registered as {name!r}{nearest(name, known)}")


def model_asset(name: str) -> ModelAsset:
    """The registered model `name`; raises AssetError that lists the registered names."""
    known = models()
    if name not in known:
        raise _unknown("model", name, known)
    return known[name]


def data_asset(name: str) -> DataAsset:
    """The registered data set `name`; raises AssetError that lists the registered names."""
    known = data_sets()
    if name not in known:
        raise _unknown("data set", name, known)
    return known[name]
