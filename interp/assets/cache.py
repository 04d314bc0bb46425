"""The folder of everything fetched: where it is, and how its files are verified, placed and locked.

A file gets its final name only once it is verified, so under that name it is always whole.
"""

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import filelock
import platformdirs

from interp.assets.files import is_disk_full
from interp.errors import AssetError, DiskFullError, WrongHashError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
"""How much of a file is read at a time"""

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def cache_root() -> Path:
    """The folder of everything fetched: `$INTERP_CACHE`, else the platform's user cache folder."""
    given = os.environ.get("INTERP_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("interp"))


def sha256_file(path: str | Path) -> str:
    """The sha256 of a file's bytes in lower-case hexadecimal, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def wrong_hash(what: str, expected: str, found: str) -> str:
    """The message that names both hashes of a file which is not the registered one."""
    return f"{what} has the wrong sha256: expected {expected}, found {found}."


def check_hash(what: str, path: Path, expected: str) -> None:
    """Raise WrongHashError, and remove the file, unless it has the expected sha256."""
    found = sha256_file(path)
    if found != expected:
        path.unlink()
        raise WrongHashError(wrong_hash(what, expected, found) + " The file was removed.")


def _stamp_path(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _stamp(path: Path, sha256: str) -> str:
    status = path.stat()
    return f"{sha256} {status.st_size} {status.st_mtime_ns}"


def _write_stamp(path: Path, sha256: str) -> None:
    # The stamp only saves hashing a gigabyte at each start; a read-only cache does without.
    with contextlib.suppress(OSError):
        _stamp_path(path).write_text(_stamp(path, sha256), encoding="utf-8")


def _verified_hash(path: Path, sha256: str) -> str:
    """The file's hash; not read anew if size and time are those of a check that found `sha256`."""
    stamp = _stamp_path(path)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == _stamp(path, sha256):
        return sha256
    found = sha256_file(path)
    if found == sha256:
        _write_stamp(path, sha256)
    return found


def in_cache(path: Path, sha256: str, label: str) -> bool:
    """Whether the cache holds the file whole; a file that is not as registered is removed."""
    if not path.is_file():
        return False
    found = _verified_hash(path, sha256)
    if found == sha256:
        return True
    logger.warning("%s", wrong_hash(f"{label} in the cache ({path})", sha256, found))
    path.unlink()
    return False


def place(temporary: Path, target: Path, sha256: str) -> None:
    """Give a verified file its final name in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, target)
    _write_stamp(target, sha256)


@contextlib.contextmanager
def locked(key: str, label: str) -> Iterator[None]:
    """Hold the lock file `key` of one asset, so that two processes do not fetch it at once."""
    folder = cache_root() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{key}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("%s is being fetched by another process; waiting for it.", label)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def readable_disk_errors(label: str, needed_bytes: int) -> Iterator[None]:
    """Turn a full disk into a DiskFullError, and an unwritable cache folder into an AssetError."""
    root = cache_root()
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(
                f"The disk is full: {label} needs {needed_bytes} bytes "
                f"({needed_bytes / 1e6:.0f} MB) in {root}. "
                "Make space, or set INTERP_CACHE to a folder on another disk."
            ) from error
        if error.errno in _NOT_WRITABLE:
            raise AssetError(
                f"The cache folder {root} cannot be written ({error}). "
                "Set INTERP_CACHE to a folder that can."
            ) from error
        raise
