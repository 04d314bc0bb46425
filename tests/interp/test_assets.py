"""Fetching: a local hub, wheels that lie, a full disk, a killed download, two processes at once."""

import contextlib
import errno
import hashlib
import http.server
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from interp import assets
from interp.errors import AssetError
from interp.registry import DataAsset, ModelAsset, Part, Wheel

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


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; no hub, no index and no user settings."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", NO_HUB)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "cache"


# -------------------------------------------------------------------------------- made in the test


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
    return Wheel(package, "1.0", assets.sha256_file(path), path.stat().st_size)


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


@pytest.fixture
def wheels(tmp_path) -> Path:
    return tmp_path / "wheels"


@pytest.fixture
def model(wheels, monkeypatch) -> ModelAsset:
    asset = make_model(wheels)
    monkeypatch.setattr(assets, "model_asset", lambda name: asset)
    return asset


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


def fetch(downloader, **options) -> Path:
    return assets.fetch_model_file("toy", progress=False, downloader=downloader, **options)


# ----------------------------------------------------------------------------------------- the hub


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


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    state = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_for(state))
    server.daemon_threads = True
    server.block_on_close = False
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


def never(wheel, folder, *, offline, report):
    raise AssetError("no wheel either")


PATH = "/org/toy/resolve/main/toy.gguf"


def test_hub_file_is_verified_and_cached(model, hub, cache):
    path = fetch(never)
    assert path == cache / "models/toy/toy.gguf"
    assert path.read_bytes() == CONTENT
    assert files_under(cache) == {"models/toy/toy.gguf", "models/toy/toy.gguf.verified"}
    fetch(never)
    assert hub.requests == [(PATH, None)]


def test_hub_resumes_after_a_broken_connection(model, hub):
    hub.break_after = 300_000
    assert fetch(never).read_bytes() == CONTENT
    assert hub.requests == [(PATH, None), (PATH, "bytes=300000-")]


def test_hub_without_ranges_starts_afresh(model, hub):
    hub.break_after, hub.ranges = 300_000, False
    assert fetch(never).read_bytes() == CONTENT


def test_hub_redirect_keeps_the_range(model, hub):
    hub.redirect_to, hub.break_after = f"{hub.url}/elsewhere", 1000
    assert fetch(never).read_bytes() == CONTENT
    assert ("/elsewhere", "bytes=1000-") in hub.requests


def test_hub_wrong_hash_names_both_and_leaves_nothing(model, hub, cache):
    hub.content = bytes(len(CONTENT))
    with pytest.raises(AssetError) as error:
        fetch(never)
    assert f"expected {model.sha256}, found {sha256(hub.content)}" in str(error.value)
    assert files_under(cache) == set()


def test_hub_wrong_hash_is_told_and_the_wheels_are_used(model, hub, wheels, caplog):
    hub.content = bytes(len(CONTENT))
    assert fetch(FolderDownloader(wheels)).read_bytes() == CONTENT
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert model.sha256 in record.getMessage()


def test_hub_wrong_size_is_refused_before_the_download(model, hub, cache):
    hub.content = CONTENT + b"more"
    with pytest.raises(AssetError, match=f"offers {len(CONTENT) + 4} bytes where {len(CONTENT)}"):
        fetch(never)
    assert files_under(cache) == set()


def test_hub_404_is_named_with_the_other_reason(model, hub, cache):
    hub.status = 404
    with pytest.raises(AssetError, match=r"(?s)hub: .*answered 404.*package index: no wheel"):
        fetch(never)
    assert len(hub.requests) == 1
    assert files_under(cache) == set()


def test_hub_server_errors_are_tried_again(model, hub):
    hub.status = 503
    with pytest.raises(AssetError, match=r"0 of 1048576 bytes arrived .*503"):
        fetch(never)
    assert len(hub.requests) == 3


def test_a_dead_storage_host_is_asked_once(model, hub, wheels):
    hub.redirect_to = f"{NO_HUB}/elsewhere"
    assert fetch(FolderDownloader(wheels)).read_bytes() == CONTENT
    assert hub.requests == [(PATH, None)]


def test_truncated_for_good_says_how_far_it_came(tmp_path, hub):
    class Breaks(Hub):
        break_after = property(lambda self: 1000, lambda self, value: None)  # type: ignore[assignment]

    hub.__class__ = Breaks
    hub.ranges = False
    with pytest.raises(AssetError, match=r"1000 of 1048576 bytes arrived.*Run again to resume"):
        assets.download_http(
            hub.url, tmp_path / "file", size=len(CONTENT), report=lambda done: None
        )


def test_a_whole_partial_file_is_not_asked_for_again(tmp_path, hub):
    (tmp_path / "file").write_bytes(CONTENT)
    assets.download_http(hub.url, tmp_path / "file", size=len(CONTENT), report=lambda done: None)
    assert hub.requests == []


def test_an_overlong_partial_file_is_replaced(tmp_path, hub):
    (tmp_path / "file").write_bytes(CONTENT + b"more")
    assets.download_http(hub.url, tmp_path / "file", size=len(CONTENT), report=lambda done: None)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_offline_and_switched_off_hub_are_not_asked(model, hub, wheels, monkeypatch):
    fetch(FolderDownloader(wheels), offline=True)
    shutil.rmtree(assets.cache_root())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch(FolderDownloader(wheels))
    assert hub.requests == []


def test_a_hub_that_does_not_answer_costs_one_short_wait(model, wheels, monkeypatch, caplog):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(assets, "_PROBE_SECONDS", 0.2)
        start = time.monotonic()
        with caplog.at_level("INFO"):
            fetch(FolderDownloader(wheels))
        assert time.monotonic() - start < 2
        assert [record.levelname for record in caplog.records] == ["INFO"]
        start = time.monotonic()
        assert not assets.hub_is_reachable(assets.hub_endpoint())
        assert time.monotonic() - start < 0.1


KILLED = """
import sys
from interp import assets
assets.download_http(sys.argv[1], assets.Path(sys.argv[2]), size=int(sys.argv[3]), report=print)
"""


def test_a_killed_download_resumes(tmp_path, hub):
    hub.stall_after = HALF
    destination = tmp_path / "file"
    arguments = [hub.url, str(destination), str(len(CONTENT))]
    with subprocess.Popen([sys.executable, "-u", "-c", KILLED, *arguments]) as process:
        deadline = time.monotonic() + 60
        while not (destination.exists() and destination.stat().st_size) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    arrived = destination.stat().st_size
    assert 0 < arrived < len(CONTENT)
    assets.download_http(hub.url, destination, size=len(CONTENT), report=lambda done: None)
    assert destination.read_bytes() == CONTENT
    assert hub.requests[-1][1] == f"bytes={arrived}-"


# ------------------------------------------------------------------------------ cache and own path


def test_cache_root_prefers_the_environment(cache, monkeypatch):
    assert assets.cache_root() == cache
    monkeypatch.delenv("INTERP_CACHE")
    monkeypatch.setattr(assets.platformdirs, "user_cache_dir", lambda name: f"/caches/{name}")
    assert assets.cache_root() == Path("/caches/interp")


def test_a_damaged_cached_file_is_noticed_and_replaced(model, wheels, caplog):
    path = fetch(FolderDownloader(wheels))
    path.write_bytes(b"\0" + CONTENT[1:])
    os.utime(path, (1, 1))
    assert fetch(FolderDownloader(wheels)).read_bytes() == CONTENT
    assert model.sha256 in caplog.text


def test_an_unchanged_cached_file_is_not_hashed_again(model, wheels, monkeypatch):
    fetch(FolderDownloader(wheels))
    monkeypatch.setattr(assets, "sha256_file", lambda path: pytest.fail("hashed again"))
    fetch(never)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_file_of_the_users_is_used_where_it_is(model, tmp_path, cache, as_folder):
    own = tmp_path / "own" / "toy.gguf"
    own.parent.mkdir()
    own.write_bytes(CONTENT)
    assert fetch(never, path=own.parent if as_folder else own) == own
    assert files_under(cache) == set()


def test_a_wrong_file_of_the_users_is_refused_and_kept(model, tmp_path):
    own = tmp_path / "toy.gguf"
    own.write_bytes(b"something")
    with pytest.raises(AssetError, match=f"expected {model.sha256}, found {sha256(b'something')}"):
        fetch(never, path=own)
    assert own.exists()
    with pytest.raises(AssetError, match="there is no file"):
        fetch(never, path=tmp_path / "absent")


# ------------------------------------------------------------------------------------------ wheels


def test_parts_are_joined_in_order_and_the_wheels_removed(model, wheels, cache):
    downloader = FolderDownloader(wheels)
    assert fetch(downloader).read_bytes() == CONTENT
    assert downloader.asked == ["part0", "part1"]
    assert files_under(cache) == {"models/toy/toy.gguf", "models/toy/toy.gguf.verified"}


def test_an_interrupted_download_keeps_the_finished_parts(model, wheels, cache):
    with pytest.raises(KeyboardInterrupt):
        fetch(FolderDownloader(wheels, fail_at="part1"))
    assert files_under(cache) == {f"partial/toy/{model.parts[0].wheel.sha256}.whl"}
    downloader = FolderDownloader(wheels)
    assert fetch(downloader).read_bytes() == CONTENT
    assert downloader.asked == ["part1"]


def test_a_kept_part_that_went_bad_is_downloaded_again(model, wheels, cache):
    with pytest.raises(KeyboardInterrupt):
        fetch(FolderDownloader(wheels, fail_at="part1"))
    (cache / f"partial/toy/{model.parts[0].wheel.sha256}.whl").write_bytes(b"rot")
    assert fetch(FolderDownloader(wheels)).read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_refused(model, wheels, cache):
    part0 = model.parts[0].wheel
    make_wheel(wheels, "part0", {"part0/data/part.bin": b"tampered"})
    with pytest.raises(AssetError, match=f"wrong sha256: expected {part0.sha256}, found [0-9a-f]"):
        fetch(FolderDownloader(wheels))
    assert files_under(cache) == set()


def test_a_joined_file_with_another_hash_is_refused(model, wheels, cache, monkeypatch):
    swapped = replace(model, parts=model.parts[::-1])
    monkeypatch.setattr(assets, "model_asset", lambda name: swapped)
    found = sha256(CONTENT[HALF:] + CONTENT[:HALF])
    with pytest.raises(AssetError, match=f"expected {model.sha256}, found {found}"):
        fetch(FolderDownloader(wheels))
    assert files_under(cache) == set()


def one_part(model: ModelAsset, wheel: Wheel, member: str) -> ModelAsset:
    return replace(model, parts=(Part(wheel, member),))


def lying_wheel(kind: str, wheels: Path) -> tuple[Wheel, str]:
    """A wheel whose hash is as registered, but whose content is not to be trusted."""
    member = {"climbing": "../../escaped.bin", "absolute": "/escaped.bin"}.get(kind, "lie/a.bin")
    path = wheels / "lie-1.0-py3-none-any.whl"
    wheel = make_wheel(wheels, "lie", {member: CONTENT})
    if kind == "missing":
        return wheel, "lie/b.bin"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    if kind == "corrupt":
        raw = bytearray(path.read_bytes())
        raw[100:140] = bytes(40)
        path.write_bytes(bytes(raw))
    if kind == "link":
        with zipfile.ZipFile(path, "w") as archive:
            entry = zipfile.ZipInfo(member)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, "/etc/hostname")
    if kind == "double":
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(member, b"another")
    return describe(path, "lie"), member


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("climbing", "not a plain relative path"),
        ("absolute", "not a plain relative path"),
        ("link", "not a plain file"),
        ("double", "has 2 members"),
        ("missing", "has 0 members 'lie/b.bin'"),
        ("truncated", "not a readable wheel"),
        ("corrupt", "not a readable wheel"),
    ],
)
def test_wheels_that_lie_are_refused_and_leave_nothing(
    kind, message, model, wheels, cache, monkeypatch, tmp_path
):
    lie = one_part(model, *lying_wheel(kind, wheels))
    monkeypatch.setattr(assets, "model_asset", lambda name: lie)
    with pytest.raises(AssetError, match=message):
        fetch(FolderDownloader(wheels))
    assert files_under(cache) == set()
    assert not list(tmp_path.rglob("escaped.bin"))


def test_nothing_is_imported_or_installed(model, wheels):
    fetch(FolderDownloader(wheels))
    assert "part0" not in sys.modules


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_bytes_and_the_folder(model, wheels, cache, monkeypatch, code):
    def full(source, stream, length):
        stream.write(b"some")
        raise OSError(code, "no space")

    monkeypatch.setattr(assets.shutil, "copyfileobj", full)
    needed = model.download_bytes + model.bytes
    with pytest.raises(assets.DiskFullError, match=f"disk is full.*needs {needed} bytes") as error:
        fetch(FolderDownloader(wheels))
    assert str(cache) in str(error.value)
    assert not (cache / "models").exists()


def test_a_disk_that_fills_during_the_hub_download_stops_there(model, hub, wheels, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(assets, "_download_rest", full)
    downloader = FolderDownloader(wheels)
    with pytest.raises(assets.DiskFullError):
        fetch(downloader)
    assert downloader.asked == []


def test_a_cache_that_cannot_be_written_is_named(model, wheels, tmp_path, monkeypatch):
    (tmp_path / "a_file").write_text("not a folder")
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "a_file"))
    with pytest.raises(AssetError, match=r"a_file cannot be written.*INTERP_CACHE"):
        fetch(FolderDownloader(wheels))


def test_a_second_process_waits_and_uses_what_the_first_fetched(model, wheels):
    first = FolderDownloader(wheels)
    second = FolderDownloader(wheels)
    started, paths = threading.Event(), []

    def slow(wheel, folder, *, offline, report):
        started.set()
        time.sleep(0.1)
        first(wheel, folder, offline=offline, report=report)

    thread = threading.Thread(target=lambda: paths.append(fetch(slow)))
    thread.start()
    assert started.wait(10)
    paths.append(fetch(second))
    thread.join(10)
    assert paths[0] == paths[1]
    assert first.asked == ["part0", "part1"]
    assert second.asked == []


def test_progress_counts_bytes_and_reaches_the_total(model, wheels, capsys):
    assets.fetch_model_file("toy", progress=True, downloader=FolderDownloader(wheels))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "toy" in captured.err
    assert "1.1/1.1 MB" in captured.err


# ------------------------------------------------------------------------------------ the real pip


def test_pip_takes_wheels_from_the_users_own_source(model, wheels, monkeypatch, cache, capfd):
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    assert fetch(assets.pip_download, offline=True).read_bytes() == CONTENT
    assert files_under(cache) == {"models/toy/toy.gguf", "models/toy/toy.gguf.verified"}
    assert capfd.readouterr() == ("", "")


def test_pip_refuses_another_hash_and_is_quoted(model, wheels, monkeypatch, cache):
    make_wheel(wheels, "part0", {"part0/data/part.bin": b"tampered"})
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    with pytest.raises(AssetError, match="HASHES") as error:
        fetch(assets.pip_download)
    assert model.parts[0].wheel.sha256 in str(error.value)
    assert files_under(cache) == set()


def test_pip_failure_is_quoted_without_its_warnings():
    log = "WARNING: Location 'x' is ignored\nERROR: No matching distribution found for part0\n"
    message = assets._pip_failure(Wheel("part0", "1.0", "ab", 1), log)
    assert "No matching distribution found for part0" in message
    assert "is ignored" not in message
    missing = assets._pip_failure(Wheel("part0", "1.0", "ab", 1), "/x: No module named pip\n")
    assert "ensurepip" in missing


def test_pip_that_finds_no_wheel_is_quoted(model, wheels):
    with pytest.raises(AssetError, match=r"(?s)hub: .*package index: .*No matching distribution"):
        fetch(assets.pip_download)


# --------------------------------------------------------------------------------------- data sets


@pytest.fixture
def data(wheels, monkeypatch) -> DataAsset:
    contents = {"toy_data/a/rows.txt": b"one", "toy_data/b/rows.txt": b"two"}
    wheel = make_wheel(wheels, "toy-data", {**contents, "toy_data/evil.py": b"1 / 0"})
    members = {name: sha256(content) for name, content in contents.items()}
    asset = DataAsset("toy", wheel, members, "MIT", "2", "tests")
    monkeypatch.setattr(assets, "data_asset", lambda name: asset)
    return asset


def test_one_download_serves_all_members_and_only_those(data, wheels, cache):
    downloader = FolderDownloader(wheels)
    paths = [
        assets.fetch_data_file("toy", member, progress=False, downloader=downloader)
        for member in data.members
    ]
    assert [path.read_bytes() for path in paths] == [b"one", b"two"]
    assert downloader.asked == ["toy-data"]
    assert {name for name in files_under(cache) if not name.endswith(".verified")} == {
        "data/toy/toy_data/a/rows.txt",
        "data/toy/toy_data/b/rows.txt",
    }
    assert assets.is_data_cached("toy")


def test_a_member_with_another_hash_is_refused(data, wheels, cache, monkeypatch):
    wrong = replace(data, members={"toy_data/a/rows.txt": "0" * 64})
    monkeypatch.setattr(assets, "data_asset", lambda name: wrong)
    with pytest.raises(AssetError, match=f"expected {'0' * 64}, found {sha256(b'one')}"):
        assets.fetch_data_file(
            "toy", "toy_data/a/rows.txt", progress=False, downloader=FolderDownloader(wheels)
        )
    assert files_under(cache) == set()


def test_an_unregistered_member_is_refused(data):
    with pytest.raises(AssetError, match=r"no file 'toy_data/evil.py'.*rows.txt"):
        assets.fetch_data_file("toy", "toy_data/evil.py", downloader=never)


# ------------------------------------------------------------------------- other models of the hub


def test_snapshot_without_a_hub_says_what_to_give_instead():
    start = time.monotonic()
    with pytest.raises(AssetError, match=r"was not reached.*\.gguf.*qwen2\.5-coder-0\.5b"):
        assets.fetch_hub_snapshot("someone/some-model")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("status", [200, 404])
def test_snapshot_errors_of_the_hub_are_quoted(hub, status):
    hub.status = status
    with pytest.raises(AssetError, match=r"org/absent.*Give a folder"):
        assets.fetch_hub_snapshot("org/absent")
    with pytest.raises(AssetError, match=r"a\.\./b could not be fetched.*Give a folder"):
        assets.fetch_hub_snapshot("a../b")


def test_snapshot_of_a_malformed_id_lists_the_registered_names():
    with pytest.raises(AssetError, match=r"neither a registered model.*smollm2-135m"):
        assets.fetch_hub_snapshot("no such folder/at all/here")


def test_snapshot_asks_for_no_pickles_and_refuses_a_model_without_safetensors(
    hub, tmp_path, monkeypatch
):
    import huggingface_hub

    asked = {}

    def snapshot(repo_id, **options):
        asked.update(options)
        (tmp_path / "config.json").write_text("{}")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(AssetError, match="pickled weights are refused"):
        assets.fetch_hub_snapshot("org/pickled")
    assert not any(pattern.endswith((".bin", ".pt")) for pattern in asked["allow_patterns"])
    assert asked["endpoint"] == hub.url
    assert not asked["local_files_only"]
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert assets.fetch_hub_snapshot("org/safe") == tmp_path
