"""Downloads over HTTP: truncated, already whole, too long, killed."""

import subprocess
import sys
import time

import pytest

from interp.assets.downloads import download_http
from interp.errors import AssetError
from tests.toy_assets import CONTENT, HALF, Hub

pytestmark = pytest.mark.usefixtures("empty_cache")


def test_truncated_for_good_says_how_far_it_came(tmp_path, hub):
    class Breaks(Hub):
        break_after = property(lambda self: 1000, lambda self, value: None)  # type: ignore[assignment]

    hub.__class__ = Breaks
    hub.ranges = False
    with pytest.raises(AssetError, match=r"1000 of 1048576 bytes arrived.*Run again to resume"):
        download_http(hub.url, tmp_path / "file", size=len(CONTENT), report=lambda done: None)


def test_a_whole_partial_file_is_not_asked_for_again(tmp_path, hub):
    (tmp_path / "file").write_bytes(CONTENT)
    download_http(hub.url, tmp_path / "file", size=len(CONTENT), report=lambda done: None)
    assert hub.requests == []


def test_an_overlong_partial_file_is_replaced(tmp_path, hub):
    (tmp_path / "file").write_bytes(CONTENT + b"more")
    download_http(hub.url, tmp_path / "file", size=len(CONTENT), report=lambda done: None)
    assert (tmp_path / "file").read_bytes() == CONTENT


KILLED = """
import sys
from pathlib import Path
from interp.assets.downloads import download_http
download_http(sys.argv[1], Path(sys.argv[2]), size=int(sys.argv[3]), report=print)
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
    download_http(hub.url, destination, size=len(CONTENT), report=lambda done: None)
    assert destination.read_bytes() == CONTENT
    assert hub.requests[-1][1] == f"bytes={arrived}-"
