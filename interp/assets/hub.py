"""The model hub: where it is, whether it answers, one file of it, and whole models of it."""

import contextlib
import functools
import os
import re
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from interp.assets.progress import hub_progress_bar
from interp.assets.registry import models
from interp.errors import AssetError, raised_as

_PROBE_SECONDS = 3.0
_SNAPSHOT_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def hub_endpoint() -> str:
    """The model hub's address: `$HF_ENDPOINT`, else huggingface.co."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def hub_is_switched_off() -> bool:
    """Whether the user told every tool, by `$HF_HUB_OFFLINE`, to leave the hub alone."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


@functools.cache
def hub_is_reachable(endpoint: str) -> bool:
    """Whether the hub answers within three seconds; asked once per process and endpoint.

    The deadline is kept by a thread, since a name lookup knows no timeout. Any answer counts, also
    an error status: it is the request for the file that then says what is wrong.
    """
    answered = threading.Event()

    def probe() -> None:
        """Note any answer."""
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, HTTPException, ValueError):
            return
        else:
            answered.set()

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS + 0.5)
    return answered.is_set()


def download_from_hub(repo_id: str, file: str, destination: Path, size: int, bar: type) -> None:
    """Download one file of `size` bytes, going on from what `destination` holds already.

    `bar` is the `tqdm_class` for huggingface_hub. Raises AssetError for a hub that does not answer
    or has a file of another size, and whatever huggingface_hub raises.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    endpoint = hub_endpoint()
    if not hub_is_reachable(endpoint):
        raise AssetError(f"{endpoint} cannot be reached.")
    url = hf_hub_url(repo_id, file, endpoint=endpoint)
    offered = get_hf_file_metadata(url).size
    if offered not in (None, size):
        raise AssetError(f"{url} offers {offered} bytes where {size} bytes are registered.")
    # Not hf_hub_download, which since huggingface_hub 1.18 begins every call at the first byte.
    with open(destination, "ab") as stream:
        if stream.tell() > size:
            stream.truncate(0)
            stream.seek(0)
        http_get(
            url,
            stream,
            resume_size=stream.tell(),
            headers=build_hf_headers(),
            expected_size=size,
            tqdm_class=bar,
        )


def _choices() -> str:
    return (
        "Give a folder with a Hugging Face model, a .gguf file, or a registered name: "
        f"{', '.join(models())}."
    )


def _holds_safetensors(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _snapshot(repo_id: str, endpoint: str, local: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    with (
        raised_as(AssetError, f"{repo_id} could not be fetched", _choices()),
        hub_progress_bar(f"{repo_id} (hub)", enabled=True) as bar,
        contextlib.suppress(LocalEntryNotFoundError),
    ):
        folder = snapshot_download(
            repo_id,
            allow_patterns=list(_SNAPSHOT_PATTERNS),
            ignore_patterns=["*/*"],  # exports to other formats in subfolders can be gigabytes
            endpoint=endpoint,
            local_files_only=local,
            tqdm_class=bar,
        )
        return Path(folder)
    raise AssetError(
        f"{repo_id} is not on this machine and the hub {endpoint} was not reached. {_choices()}"
    )


def fetch_hub_snapshot(repo_id: str, *, offline: bool = False) -> Path:
    """The local folder of any model of the hub: safetensors, configuration and tokenizer only.

    Pickled weights are never downloaded, since loading them can run code. The hub's own cache is
    used, so what other tools downloaded is found, also offline. Raises AssetError at once when the
    id is malformed, unknown or gated, the hub is unreachable, or the model has no safetensors.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise AssetError(f"{repo_id!r} is neither a registered model nor a hub id. {_choices()}")
    endpoint = hub_endpoint()
    local = offline or hub_is_switched_off() or not hub_is_reachable(endpoint)
    folder = _snapshot(repo_id, endpoint, local)
    if not _holds_safetensors(folder):
        raise AssetError(
            f"{repo_id} has no config.json with .safetensors weights (pickled weights are refused: "
            f"loading them can run code). {_choices()}"
        )
    return folder
