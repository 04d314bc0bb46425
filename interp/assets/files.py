"""Files and folders that are written whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from interp.errors import AssetError, InterpError

NOTHING_IS_KEPT = (
    "Free some space, or set INTERP_CACHE to a folder on another disk; nothing half-written was "
    "kept."
)


def is_disk_full(error: OSError) -> bool:
    """Whether the error says that no space, or none of the user's quota, is left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def explaining_full_disk(
    folder: Path, kind: type[InterpError] = AssetError, advice: str = NOTHING_IS_KEPT
) -> Iterator[None]:
    """Turn an OSError that says that the disk is full into an error of this kind, with advice."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        free = shutil.disk_usage(folder).free
        raise kind(
            f"The disk is full while writing to {folder} ({free:,} bytes free). {advice}"
        ) from error


def replace_file(path: Path, write: Callable[[Path], None], *, private: bool = False) -> None:
    """Call `write` on a temporary file beside `path`, then rename it into place.

    With `private` the file is for its owner alone, else for whom the user's umask lets.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with explaining_full_disk(path.parent):
            write(temporary)
            temporary.chmod(0o600 if private else 0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `folder` when the block succeeds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with explaining_full_disk(folder.parent):
            yield temporary
            # Temporary folders, and what some libraries write, are for their owner alone.
            temporary.chmod(0o777 & ~_umask())
            for file in (f for f in temporary.rglob("*") if f.is_file() and not f.is_symlink()):
                file.chmod(0o666 & ~_umask())
            if folder.exists():
                shutil.rmtree(folder)
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)  # it can be read in no other way
    os.umask(mask)
    return mask
