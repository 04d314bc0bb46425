"""Files and folders that are written whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from interp.errors import AssetError


def is_disk_full(error: OSError) -> bool:
    """Whether the error says that no space, or none of the user's quota, is left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def explain_full_disk(error: OSError, folder: Path) -> None:
    """Raise AssetError when an OSError says that the disk is full; do nothing otherwise."""
    if is_disk_full(error):
        free = shutil.disk_usage(folder).free
        raise AssetError(
            f"The disk is full while writing to {folder} ({free:,} bytes free). Free some space, "
            "or set INTERP_CACHE to a folder on another disk; nothing half-written was kept."
        ) from error


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` on a temporary file beside `path`, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        explain_full_disk(error, path.parent)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `folder` when the block succeeds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        explain_full_disk(error, folder.parent)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
