"""A profile, read from YAML and checked as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from provisioner.core.profile import CacheControl, Index, Profile, is_profile, read_profile
from provisioner.errors import ProfileError
from tests.core.examples import version

WHOLE: dict[str, Any] = {
    "schema": 1,
    "name": "cu12",
    "cuda": "12",
    "needs": {"driver": ">=535", "cuda": ">=12.2", "compute-capability": ">=7"},
    "extras": ["cu12", "CUDA_12"],
    "requirements": ["tensorrt-cu12", "cuda-toolkit[cudart]==12.*"],
    "indexes": [
        {
            "name": "nvidia",
            "url": "https://pypi.nvidia.com/",
            "packages": ["tensorrt*"],
            "cache-control": {"api": "max-age=600", "files": "immutable"},
        }
    ],
}
LEAST: dict[str, Any] = {"schema": 1, "name": "mine", "cuda": None}


def faults(data: dict[str, Any]) -> tuple[str, ...]:
    """What is said to be wrong with a profile."""
    with pytest.raises(ProfileError) as caught:
        read_profile(data, "mine.yaml")
    assert caught.value.message == "profile `mine.yaml` is not valid"
    assert caught.value.exit_code == 2
    return caught.value.causes


def test_every_key_is_read() -> None:
    assert read_profile(WHOLE, "cu12.yaml") == Profile(
        name="cu12",
        cuda=version("12"),
        needs=(("driver", ">=535"), ("cuda", ">=12.2"), ("compute-capability", ">=7")),
        extras=("cu12", "cuda-12"),
        requirements=("tensorrt-cu12", "cuda-toolkit[cudart]==12.*"),
        indexes=(
            Index(
                name="nvidia",
                url="https://pypi.nvidia.com/",
                packages=("tensorrt*",),
                cache_control=CacheControl(api="max-age=600", files="immutable"),
            ),
        ),
        origin="cu12.yaml",
    )


def test_what_is_left_out_is_empty() -> None:
    assert read_profile(LEAST, "mine.yaml") == Profile(name="mine", cuda=None, origin="mine.yaml")


def test_no_requirements_are_something_else_than_an_empty_list_of_them() -> None:
    assert read_profile(LEAST, "mine.yaml").requirements is None
    assert read_profile({**LEAST, "requirements": []}, "mine.yaml").requirements == ()


def test_three_faults_are_told_at_once_with_the_path_to_the_key() -> None:
    broken = yaml.safe_load(
        """
        schema: 1
        name: Cu 12
        cuda: 12.8
        indexes:
          - name: nvidia
            url: ftp://pypi.nvidia.com/
        """
    )
    assert faults(broken) == (
        "`name`: `Cu 12` does not match `[a-z0-9][a-z0-9_-]*`",
        '`cuda`: expected a quoted text such as "12", got `12.8` (float)',
        "`indexes[0].url`: `ftp://pypi.nvidia.com/` is not an http, https or file URL",
    )


@pytest.mark.parametrize("key", ["schema", "name", "cuda"])
def test_a_missing_key_is_a_fault(key: str) -> None:
    (fault,) = faults({name: value for name, value in LEAST.items() if name != key})
    assert fault.startswith(f"`{key}`: ")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"schema": 2}, "`schema`: expected 1, got `2` (int)"),
        ({"schema": "1"}, "`schema`: expected 1, got `1` (str)"),
        ({"name": 12}, "`name`: expected a text, got `12` (int)"),
        ({"name": ""}, "`name`: `` does not match `[a-z0-9][a-z0-9_-]*`"),
        ({"name": "../cu12"}, "`name`: `../cu12` does not match `[a-z0-9][a-z0-9_-]*`"),
        ({"cuda": 12}, '`cuda`: expected a quoted text such as "12", got `12` (int)'),
        ({"cuda": "twelve"}, "`cuda`: `twelve` is not a version of digits and dots"),
        ({"needs": []}, "`needs`: expected a mapping, got `[]` (list)"),
        ({"needs": {"driver": 535}}, "`needs.driver`: expected a text, got `535` (int)"),
        (
            {"needs": {"driver": "535"}},
            "`needs.driver`: `535` is not a version specifier (PEP 440) such as `>=535`",
        ),
        (
            {"needs": {"vram": ">=8"}},
            "`needs.vram`: unknown key, known are `driver`, `cuda`, `compute-capability`",
        ),
        ({"extras": "cu12"}, "`extras`: expected a list, got `cu12` (str)"),
        ({"extras": ["cu12", 12]}, "`extras[1]`: expected a text, got `12` (int)"),
        (
            {"extras": ["-cu12"]},
            "`extras[0]`: `-cu12` is not the name of an extra or dependency group",
        ),
        ({"requirements": None}, "`requirements`: expected a list, got null"),
        ({"requirements": [None]}, "`requirements[0]`: expected a text, got null"),
        ({"indexes": {}}, "`indexes`: expected a list, got `{}` (dict)"),
        (
            {"indexes": ["https://pypi.org/"]},
            "`indexes[0]`: expected a mapping, got `https://pypi.org/` (str)",
        ),
        (
            {"colour": "red"},
            (
                "`colour`: unknown key, known are `schema`, `name`, `cuda`, `needs`, `extras`, "
                "`requirements`, `indexes`"
            ),
        ),
    ],
)
def test_a_fault_is_told_with_its_path(change: dict[str, Any], fault: str) -> None:
    assert faults({**LEAST, **change}) == (fault,)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": None}, "`indexes[0].name`: expected a text, got null"),
        ({"url": 1}, "`indexes[0].url`: expected a text, got `1` (int)"),
        ({"url": "pypi.org"}, "`indexes[0].url`: `pypi.org` is not an http, https or file URL"),
        ({"url": "http://[::1/"}, "`indexes[0].url`: Invalid IPv6 URL"),
        (
            {"packages": "tensorrt*"},
            "`indexes[0].packages`: expected a list, got `tensorrt*` (str)",
        ),
        (
            {"packages": ["tensorrt*", "../x"]},
            "`indexes[0].packages[1]`: `../x` is not a package name or pattern such as `tensorrt*`",
        ),
        (
            {"cache-control": "max-age=1"},
            "`indexes[0].cache-control`: expected a mapping, got `max-age=1` (str)",
        ),
        (
            {"cache-control": {"api": 600}},
            "`indexes[0].cache-control.api`: expected a text, got `600` (int)",
        ),
        (
            {"cache-control": {"files": "max-age=1\nset-cookie: x"}},
            (
                "`indexes[0].cache-control.files`: `max-age=1\nset-cookie: x` is not a "
                "`Cache-Control` such as `max-age=600`"
            ),
        ),
        (
            {"url": "ftp://me:secret@pypi.org/"},
            "`indexes[0].url`: `ftp://pypi.org/` is not an http, https or file URL",
        ),
        (
            {"cache-control": {"pages": "no-store"}},
            "`indexes[0].cache-control.pages`: unknown key, known are `api`, `files`",
        ),
        (
            {"verify": False},
            (
                "`indexes[0].verify`: unknown key, known are `name`, `url`, `packages`, "
                "`cache-control`"
            ),
        ),
    ],
)
def test_a_fault_of_an_index_is_told_with_its_path(change: dict[str, Any], fault: str) -> None:
    index = {"name": "nvidia", "url": "https://pypi.nvidia.com/", **change}
    assert faults({**LEAST, "indexes": [index]}) == (fault,)


def test_a_faulty_requirement_is_told_with_its_text_and_what_is_wrong_with_it() -> None:
    (fault,) = faults({**LEAST, "requirements": ["tensorrt", "tensorrt=="]})
    assert fault.startswith("`requirements[1]`: `tensorrt==` is not a requirement (PEP 508): ")
    assert "\n" not in fault


def test_the_second_index_is_counted_as_such() -> None:
    good = {"name": "nvidia", "url": "https://pypi.nvidia.com/"}
    told = faults({**LEAST, "indexes": [good, {"name": "torch"}]})
    assert told == ("`indexes[1].url`: missing",)


@pytest.mark.parametrize("data", [{"schema": 1}, {"cuda": "12"}, {"cuda": None}])
def test_a_file_with_schema_or_cuda_means_to_be_a_profile(data: dict[str, Any]) -> None:
    assert is_profile(data)


@pytest.mark.parametrize("data", [None, [], "schema", {}, {"name": "dev", "targets": []}])
def test_a_file_of_another_tool_is_left_alone(data: object) -> None:
    assert not is_profile(data)
