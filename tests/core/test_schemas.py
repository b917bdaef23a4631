"""The schemas for editors say what the readers of profiles and targets say."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator

from provisioner.adapters.profiles import shipped_folder
from provisioner.core import target_json
from provisioner.core.host import GpuStatus, PlatformClass, System
from provisioner.core.profile import CONTROL, NAME, NEEDS, is_profile, read_profile
from provisioner.core.target_json import target_from_json
from provisioner.errors import ProfileError, TargetError
from tests.cli.projects import target_data
from tests.core.test_profile import LEAST, WHOLE

PROFILES = sorted(shipped_folder().glob("*.yaml"))
HOSTS = sorted((shipped_folder() / "hosts").glob("*.json"))
INDEX = WHOLE["indexes"][0]


def schema(name: str) -> dict[str, Any]:
    path = shipped_folder() / f"{name}.schema.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(found)
    return found


def fits(name: str, data: object) -> bool:
    return Draft202012Validator(schema(name)).is_valid(data)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_shipped_profile_fits(path: Any) -> None:  # noqa: ANN401 - a path of pytest's
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert is_profile(data)
    assert fits("profile", data)


@pytest.mark.parametrize("path", HOSTS, ids=lambda path: path.stem)
def test_every_example_host_fits(path: Any) -> None:  # noqa: ANN401 - as above
    data = json.loads(path.read_text(encoding="utf-8"))
    target_from_json(data, path.name)
    assert fits("target", data)


def test_what_the_readers_take_fits() -> None:
    assert fits("profile", WHOLE)
    assert fits("profile", LEAST)
    assert fits("target", target_data("9.0", "7.0"))
    assert fits("target", json.loads(json.dumps(target_json.target_to_json(
        target_from_json(target_data("9.0"), "saved")
    ))))  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"name": "Cu 12"},
        {"name": None},
        {"cuda": 12.8},
        {"cuda": "twelve"},
        {"needs": {"gpu": ">=1"}},
        {"needs": {"driver": 535}},
        {"needs": []},
        {"extras": "cu12"},
        {"extras": ["a b"]},
        {"requirements": [1]},
        {"requirements": {}},
        {"indexes": {}},
        {"indexes": [{"name": "x"}]},
        {"indexes": [{**INDEX, "url": "ftp://x.example/"}]},
        {"indexes": [{**INDEX, "packages": ["a b"]}]},
        {"indexes": [{**INDEX, "cache-control": {"api": "no good, "}}]},
        {"indexes": [{**INDEX, "cache-control": {"pages": "max-age=1"}}]},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_profile_that_is_refused_does_not_fit(change: dict[str, Any]) -> None:
    data = {**WHOLE, **change}
    with pytest.raises(ProfileError):
        read_profile(data, "mine")
    assert not fits("profile", data)


@pytest.mark.parametrize("key", ["schema", "name", "cuda"])
def test_a_profile_without_a_key_that_it_needs_does_not_fit(key: str) -> None:
    data = {name: value for name, value in WHOLE.items() if name != key}
    with pytest.raises(ProfileError):
        read_profile(data, "mine")
    assert not fits("profile", data)


@pytest.mark.parametrize(
    "change",
    [
        {"platform": None},
        {"platform": {"system": "linux", "class": "linux"}},
        {"platform": {"system": "beos", "class": "linux", "machine": "x86_64"}},
        {"platform": {"system": "linux", "class": "phone", "machine": "x86_64"}},
        {"driver": []},
        {"driver": {"version": 580}},
        {"driver": {"kernel": "580"}},
        {"gpus": None},
        {"gpus": [{"index": -1}]},
        {"gpus": [{"status": "tired"}]},
        {"gpus": [{"memory_bytes": "80 GB"}]},
        {"findings": [{}]},
        {"sources": []},
        {"python": 3.12},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_target_that_is_refused_does_not_fit(change: dict[str, Any]) -> None:
    data = {**target_data("9.0"), **change}
    with pytest.raises(TargetError):
        target_from_json(data, "saved")
    assert not fits("target", data)


def test_the_schemas_have_the_patterns_and_names_of_the_readers() -> None:
    profile, target = schema("profile")["properties"], schema("target")["properties"]
    assert profile["name"]["pattern"] == f"^{NAME.pattern}$"
    index = profile["indexes"]["items"]["properties"]
    assert {item["pattern"] for item in index["cache-control"]["properties"].values()} == {
        f"^{CONTROL.pattern}$".replace('\\"', '"')  # Escaped for Python alone.
    }
    assert tuple(profile["needs"]["properties"]) == NEEDS
    platform = target["platform"]["properties"]
    assert platform["system"]["enum"] == [*get_args(System)]
    assert platform["class"]["enum"] == [*get_args(PlatformClass)]
    assert target["gpus"]["items"]["properties"]["status"]["enum"] == [*get_args(GpuStatus)]
