"""What `pyproject.toml` says that gpuenv has to know."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from provisioner.core.project import Defined, normalise, read_manifest
from provisioner.errors import GpuenvError


@given(st.text(string.ascii_letters + string.digits + "-_.", min_size=1))
def test_names_are_normalised_as_packaging_does(name: str) -> None:
    assert normalise(name) == canonicalize_name(name)


def test_an_empty_manifest_defines_nothing_and_is_no_package() -> None:
    manifest = read_manifest({}, "pyproject.toml")
    assert manifest.name is None
    assert manifest.defined == Defined(extras=frozenset(), groups=frozenset())
    assert not manifest.uses_uv
    assert not manifest.is_package
    assert manifest.workspace_members is None


def test_extras_and_groups_are_read_under_their_normal_names() -> None:
    manifest = read_manifest(
        {
            "project": {"name": "My_App", "optional-dependencies": {"CUDA_12": [], "cu13": []}},
            "dependency-groups": {"Dev.Tools": [], "cpu": []},
        },
        "pyproject.toml",
    )
    assert manifest.name == "my-app"
    assert manifest.defined.extras == {"cuda-12", "cu13"}
    assert manifest.defined.groups == {"dev-tools", "cpu"}


@pytest.mark.parametrize(
    ("data", "is_package"),
    [
        ({"build-system": {"requires": []}}, True),
        ({"build-system": {}, "tool": {"uv": {"package": False}}}, False),
        ({"tool": {"uv": {"package": True}}}, True),
        ({"tool": {"uv": {}}}, False),
    ],
)
def test_a_build_system_makes_a_package_unless_uv_is_told_otherwise(
    data: dict[str, Any], *, is_package: bool
) -> None:
    assert read_manifest(data, "pyproject.toml").is_package is is_package


@pytest.mark.parametrize(
    ("tool", "uses_uv"), [({}, False), ({"ruff": {}}, False), ({"uv": {}}, True)]
)
def test_a_table_of_uv_says_that_uv_is_used(tool: dict[str, Any], *, uses_uv: bool) -> None:
    assert read_manifest({"tool": tool}, "pyproject.toml").uses_uv is uses_uv


def test_a_workspace_without_members_is_still_a_workspace() -> None:
    manifest = read_manifest({"tool": {"uv": {"workspace": {}}}}, "pyproject.toml")
    assert manifest.workspace_members == ()


def test_members_of_a_workspace_are_read_as_written() -> None:
    workspace = {"members": ["packages/*", "tools"], "exclude": ["packages/old"]}
    manifest = read_manifest({"tool": {"uv": {"workspace": workspace}}}, "pyproject.toml")
    assert manifest.workspace_members == ("packages/*", "tools")
    assert manifest.workspace_exclude == ("packages/old",)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"project": []}, "project"),
        ({"project": {"optional-dependencies": ["cu12"]}}, "project.optional-dependencies"),
        ({"dependency-groups": "dev"}, "dependency-groups"),
        ({"tool": 1}, "tool"),
        ({"tool": {"uv": True}}, "tool.uv"),
        ({"tool": {"uv": {"workspace": ["packages/*"]}}}, "tool.uv.workspace"),
    ],
)
def test_a_table_that_is_something_else_is_named(data: dict[str, Any], path: str) -> None:
    with pytest.raises(GpuenvError, match=r"`app/pyproject\.toml` is not valid") as caught:
        read_manifest(data, "app/pyproject.toml")
    assert caught.value.code == "project-invalid"
    assert caught.value.causes == (f"`{path}`: expected a table",)


@pytest.mark.parametrize(
    ("uv", "default"),
    [
        ({}, {"dev"}),
        ({"default-groups": ["GPU_Tools", "cpu"]}, {"gpu-tools", "cpu"}),
        ({"default-groups": ["cpu", "nowhere"]}, {"cpu"}),
        ({"default-groups": []}, set()),
        ({"default-groups": "all"}, {"dev", "gpu-tools", "cpu"}),
    ],
)
def test_the_default_groups_are_those_that_uv_takes(uv: dict[str, Any], default: set[str]) -> None:
    groups: dict[str, Any] = {"dev": [], "GPU.Tools": [], "cpu": []}
    manifest = read_manifest({"dependency-groups": groups, "tool": {"uv": uv}}, "pyproject.toml")

    assert manifest.default_groups == default
    assert manifest.defined.default_groups == default


def test_a_project_without_a_group_of_that_name_has_no_default_group() -> None:
    manifest = read_manifest({"dependency-groups": {"cpu": []}}, "pyproject.toml")

    assert manifest.default_groups == frozenset()


@pytest.mark.parametrize(
    ("uv", "has"),
    [({}, False), ({"conflicts": [[{"extra": "cu12"}, {"extra": "cu13"}]]}, True)],
)
def test_a_project_says_whether_its_extras_exclude_each_other(
    uv: dict[str, Any], *, has: bool
) -> None:
    assert read_manifest({"tool": {"uv": uv}}, "pyproject.toml").has_conflicts is has


@pytest.mark.parametrize(
    ("uv", "uses_uv"), [({"managed": False}, False), ({"managed": True}, True)]
)
def test_a_project_that_uv_is_not_to_manage_does_not_use_uv(
    uv: dict[str, Any], *, uses_uv: bool
) -> None:
    assert read_manifest({"tool": {"uv": uv}}, "pyproject.toml").uses_uv is uses_uv


@pytest.mark.parametrize(
    ("data", "is_project"),
    [
        ({}, False),
        ({"tool": {"ruff": {"line-length": 100}}}, False),
        ({"tool": {"uv": {"index-url": "https://index.test/"}}}, False),
        ({"project": {"name": "app"}}, True),
        ({"dependency-groups": {"dev": []}}, True),
        ({"build-system": {"requires": []}}, True),
        ({"build-system": {}}, True),
        ({"tool": {"uv": {"workspace": {"members": ["packages/*"]}}}}, True),
    ],
)
def test_a_file_of_settings_alone_describes_no_project(
    data: dict[str, Any], *, is_project: bool
) -> None:
    assert read_manifest(data, "pyproject.toml").is_project is is_project


def test_a_root_that_is_no_project_defines_what_its_members_do() -> None:
    one = {"project": {"name": "one", "optional-dependencies": {"cu13": []}}}
    two = {"project": {"name": "two"}, "dependency-groups": {"dev": [], "cu12": []}}
    members = [read_manifest(data, "pyproject.toml") for data in (one, two)]
    root = read_manifest(
        {"tool": {"uv": {"workspace": {"members": ["*"]}}}}, "pyproject.toml", members=members
    )
    assert root.is_virtual_root
    assert root.extras == {"cu13"}
    assert root.groups == {"dev", "cu12"}
    assert root.default_groups == {"dev"}


@pytest.mark.parametrize(
    ("uv", "uses_uv", "is_managed"), [({}, True, True), ({"managed": False}, False, False)]
)
def test_a_uv_toml_beside_it_says_that_uv_is_used_unless_it_must_not(
    uv: dict[str, Any], *, uses_uv: bool, is_managed: bool
) -> None:
    data = {"project": {"name": "app"}, "tool": {"uv": uv} if uv else {}}
    manifest = read_manifest(data, "pyproject.toml", {"uv.toml": ""})
    assert (manifest.uses_uv, manifest.is_managed) == (uses_uv, is_managed)


@pytest.mark.parametrize(("tool", "is_package"), [({}, True), ({"uv": {}}, False)])
def test_a_setup_script_makes_a_package_where_uv_has_no_say(
    tool: dict[str, Any], *, is_package: bool
) -> None:
    beside = {"setup.py": "from setuptools import setup\nsetup()\n"}
    assert read_manifest({"tool": tool}, "pyproject.toml", beside).is_package is is_package
