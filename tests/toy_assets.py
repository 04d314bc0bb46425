"""A made-up model in wheels, a stand-in for pip, and a hub on this machine that can misbehave."""

import contextlib
import hashlib
import http.server
import json
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
COMMIT = "0" * 40


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
    """What the server serves, how it misbehaves, and which files it was asked for (by GET)."""

    url: str = ""
    content: bytes = CONTENT
    status: int = 200
    error_code: str | None = None
    redirect_to: str | None = None
    ranges: bool = True
    break_after: int | None = None
    status_after_break: int = 200
    stall_after: int | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def body(self, path: str) -> bytes:
        """What lies at a path: what the interface tells of a model, or the content of a file."""
        if self.files and path.startswith("/api/models/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": sha256(content)}
                for name, content in self.files.items()
            ]
            return json.dumps(tree if "/tree/" in path else {"id": "org/x", "sha": COMMIT}).encode()
        return self.files.get(path.rpartition("/")[2], self.content)


class HubHandler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self):
        if self.path == "/":
            self.send_response(200)
            self.end_headers()
        else:
            self.answer(self.hub.body(self.path), None)

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.hub.requests.append((self.path, wanted))
        self.answer(self.hub.body(self.path), wanted)

    def answer(self, body: bytes, wanted: str | None):
        if self.hub.status != 200:
            self.send_response(self.hub.status)
            if self.hub.error_code:
                self.send_header("X-Error-Code", self.hub.error_code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        redirected = self.hub.redirect_to and self.path != "/elsewhere"
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.hub.ranges else 0
        self.send_response(302 if redirected else 206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{sha256(body)}"')
        if redirected:
            self.send_header("Location", str(self.hub.redirect_to))
            self.send_header("X-Linked-Size", str(len(body)))
        elif start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", "0" if redirected else str(len(body) - start))
        self.end_headers()
        if self.command == "GET" and not redirected:
            with contextlib.suppress(ConnectionError):  # the client may leave early
                self.send_body(body[start:])

    def send_body(self, body: bytes):
        if self.hub.stall_after is not None:
            self.wfile.write(body[: self.hub.stall_after])
            self.wfile.flush()
            self.hub.stall_after = None
            time.sleep(20)
            return
        limit = self.hub.break_after
        if limit is not None:
            self.hub.break_after, self.hub.status = None, self.hub.status_after_break
        self.wfile.write(body[:limit])

    def log_message(self, *args):
        pass
