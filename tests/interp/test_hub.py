"""The hub: one that does not answer, downloads cut short, models that are not registered."""

import subprocess
import sys
import time

import pytest

from interp.assets.hub import (
    download_from_hub,
    fetch_hub_snapshot,
    hub_endpoint,
    hub_is_reachable,
)
from interp.assets.progress import hub_progress_bar
from interp.errors import AssetError
from tests.toy_assets import CONTENT, HALF, FolderDownloader, fetch

pytestmark = pytest.mark.usefixtures("empty_cache")


def test_a_hub_that_does_not_answer_costs_one_short_wait(toy_model, wheels, monkeypatch, caplog):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("interp.assets.hub._PROBE_SECONDS", 0.2)
        start = time.monotonic()
        with caplog.at_level("INFO"):
            fetch(FolderDownloader(wheels))
        assert time.monotonic() - start < 2
        assert [record.levelname for record in caplog.records] == ["INFO"]
        start = time.monotonic()
        assert not hub_is_reachable(hub_endpoint())
        assert time.monotonic() - start < 0.1


def download(destination) -> None:
    with hub_progress_bar("toy", enabled=False) as bar:
        download_from_hub("org/toy", "toy.gguf", destination, len(CONTENT), bar)


def test_a_whole_partial_file_is_not_downloaded_again(tmp_path, hub):
    (tmp_path / "file").write_bytes(CONTENT)
    download(tmp_path / "file")
    assert hub.requests == []


def test_an_overlong_partial_file_is_replaced(tmp_path, hub):
    (tmp_path / "file").write_bytes(CONTENT + b"more")
    download(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


KILLED = """
import sys
from pathlib import Path
import huggingface_hub.constants
from tests.interp.test_hub import download
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1000
download(Path(sys.argv[1]))
"""


def test_a_killed_download_resumes(tmp_path, hub):
    hub.stall_after = HALF
    destination = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(destination)]) as process:
        deadline = time.monotonic() + 60
        while not (destination.exists() and destination.stat().st_size) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    arrived = destination.stat().st_size
    assert 0 < arrived < len(CONTENT)
    download(destination)
    assert destination.read_bytes() == CONTENT
    assert hub.requests[-1][1] == f"bytes={arrived}-"


def test_snapshot_without_a_hub_says_what_to_give_instead():
    start = time.monotonic()
    with pytest.raises(AssetError, match=r"was not reached.*\.gguf.*qwen2\.5-coder-0\.5b"):
        fetch_hub_snapshot("someone/some-model")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("status", [200, 404])
def test_snapshot_errors_of_the_hub_are_quoted(hub, status):
    hub.status = status
    with pytest.raises(AssetError, match=r"org/absent.*Give a folder"):
        fetch_hub_snapshot("org/absent")
    with pytest.raises(AssetError, match=r"a\.\./b could not be fetched.*Give a folder"):
        fetch_hub_snapshot("a../b")


def test_snapshot_shows_one_bar_and_is_found_again_without_one(hub, capsys):
    hub.files = {"config.json": b"{}", "model.safetensors": CONTENT, "model.bin": b"pickled"}
    folder = fetch_hub_snapshot("org/safe")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.split("\n\n")[0].splitlines()
    assert line.startswith("org/safe (hub)") and "1.0/1.0 MB" in line
    assert fetch_hub_snapshot("org/safe") == folder
    assert fetch_hub_snapshot("org/safe", offline=True) == folder
    assert capsys.readouterr().err == ""


def test_snapshot_of_a_malformed_id_lists_the_registered_names():
    with pytest.raises(AssetError, match=r"neither a registered model.*smollm2-135m"):
        fetch_hub_snapshot("no such folder/at all/here")


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
        fetch_hub_snapshot("org/pickled")
    assert not any(pattern.endswith((".bin", ".pt")) for pattern in asked["allow_patterns"])
    assert asked["endpoint"] == hub.url
    assert not asked["local_files_only"]
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert fetch_hub_snapshot("org/safe") == tmp_path
