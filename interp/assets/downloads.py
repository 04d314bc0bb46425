"""Download one file over HTTP, resuming what an interrupted call left, and show how far it is."""

import contextlib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from interp.assets.cache import CHUNK_BYTES
from interp.errors import AssetError

Report = Callable[[int], None]
"""Called with the number of bytes that are here so far."""

_READ_SECONDS = 30.0
_HTTP_ATTEMPTS = 3
_BROKEN_CONNECTION = (
    urllib.error.URLError,
    HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


@contextlib.contextmanager
def progress_bar(label: str, total: int, enabled: bool) -> Iterator[Report]:
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


def _size_on_disk(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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
            while done < size and (chunk := response.read1(min(CHUNK_BYTES, size - done))):
                stream.write(chunk)
                done += len(chunk)
                report(done)


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
