"""The registry is complete, consistent, and says which names there are when asked for another."""

import re

import pytest

from interp.assets import registry
from interp.errors import AssetError

SHA256 = re.compile(r"[0-9a-f]{64}")


def all_wheels() -> list[registry.Wheel]:
    wheels = [part.wheel for asset in registry.models().values() for part in asset.parts]
    return wheels + [asset.wheel for asset in registry.data_sets().values()]


def test_names_do_not_collide():
    assert set(registry.models()) == {
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
        "smollm2-135m",
        "gemma3-270m",
    }
    assert not set(registry.models()) & set(registry.data_sets())
    assert registry.DEFAULT_MODEL in registry.models()


def test_hashes_are_sha256_and_no_wheel_is_listed_twice():
    wheels = all_wheels()
    hashes = [wheel.sha256 for wheel in wheels]
    hashes += [asset.sha256 for asset in registry.models().values()]
    hashes += [h for asset in registry.data_sets().values() for h in asset.members.values()]
    assert all(SHA256.fullmatch(value) for value in hashes)
    assert len(set(hashes)) == len(hashes)
    assert len({(wheel.package, wheel.version) for wheel in wheels}) == len(wheels)


def test_default_model_is_the_publishers_file():
    asset = registry.model_asset(registry.DEFAULT_MODEL)
    assert asset.sha256 == "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
    assert asset.bytes == 491_400_064
    assert len(asset.parts) == 6


@pytest.mark.parametrize("name", list(registry.models()))
def test_parts_are_in_order_and_about_as_large_as_the_file(name):
    asset = registry.model_asset(name)
    numbers = [int(re.findall(r"\d+", part.wheel.package)[-1]) for part in asset.parts]
    if len(numbers) > 1:
        assert numbers == list(range(1, len(numbers) + 1))
    assert 0.8 < asset.download_bytes / asset.bytes < 1.1


def test_every_member_is_a_plain_relative_path():
    members = [part.member for asset in registry.models().values() for part in asset.parts]
    members += [m for asset in registry.data_sets().values() for m in asset.members]
    assert all(not m.startswith("/") and ".." not in m and "\\" not in m for m in members)


def test_requirement_pins_version_and_hash():
    wheel = registry.Wheel("some-package", "1.2.3", "ab" * 32, 10)
    assert wheel.requirement == f"some-package==1.2.3 --hash=sha256:{'ab' * 32}"


def test_unknown_names_suggest_and_list_the_known_ones():
    with pytest.raises(AssetError, match=r"did you mean 'smollm2-135m'.*gemma3-270m"):
        registry.model_asset("smollm2-135")
    with pytest.raises(AssetError, match=r"No data set.*wikipedia"):
        registry.data_asset("nothing of the kind")


def test_records_cannot_be_changed():
    asset = registry.data_asset("refusal")
    with pytest.raises(TypeError):
        asset.members["another"] = "x"  # type: ignore[index]
    with pytest.raises(AttributeError):
        asset.name = "x"  # type: ignore[misc]
