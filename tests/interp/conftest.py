"""An empty cache, a made-up model and a hub on this machine, for the tests of fetching."""

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from interp.assets import fetch as assets
from interp.assets.registry import ModelAsset
from tests.toy_assets import NO_HUB, Hub, HubHandler, make_model


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; no hub, no index and no user settings."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", NO_HUB)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "cache"


@pytest.fixture
def wheels(tmp_path) -> Path:
    """The folder of made-up wheels."""
    return tmp_path / "wheels"


@pytest.fixture
def toy_model(wheels, monkeypatch) -> ModelAsset:
    """A registered model of two parts, whose wheels lie in `wheels`."""
    asset = make_model(wheels)
    monkeypatch.setattr(assets, "model_asset", lambda name: asset)
    return asset


@pytest.fixture
def hub(empty_cache, monkeypatch) -> Iterator[Hub]:
    """A running hub that serves the made-up model; its client writes often and never waits."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(empty_cache / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    for module in ("file_download", "utils._http"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", Mock(time))
    state = Hub()
    handler = type("Handler", (HubHandler,), {"hub": state})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
