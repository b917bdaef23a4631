"""What of an installed distribution belongs into its wheel, where, and under which name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.built_wheel import Installed, members, portable, wheel_name

SITE = "lib/python3.11/site-packages"
PLAIN = Installed(
    site=SITE,
    info="My.Pkg-1.0.dist-info",
    paths=(),
    metadata="Metadata-Version: 2.1\nName: My.Pkg\nVersion: 1.0\n\nLong text\nName: no\n",
    wheel="Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    entry_points="",
)
ENV = "/store/envs/app-cu12-0a"


def names(*paths: str, entry_points: str = "") -> list[str]:
    installed = replace(PLAIN, paths=paths, entry_points=entry_points)
    return [member.name for member in members(installed)]


def tagged(*tags: str, build: str = "") -> Installed:
    lines = [f"Tag: {tag}" for tag in tags] + ([f"Build: {build}"] if build else [])
    return replace(PLAIN, wheel="\n".join(["Wheel-Version: 1.0", *lines]) + "\n")


def test_packages_lie_at_the_top_and_metadata_comes_last() -> None:
    assert names("z/__init__.py", "My.Pkg-1.0.dist-info/METADATA", "a.so") == [
        "a.so",
        "z/__init__.py",
        "My.Pkg-1.0.dist-info/METADATA",
    ]


def test_what_an_installer_makes_is_left_out() -> None:
    info = PLAIN.info
    made = (
        *(f"{info}/{name}" for name in ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")),
        *(f"{info}/{name}" for name in ("uv_cache.json", "uv_build.json", "RECORD.jws")),
        "a/__pycache__/b.cpython-311.pyc",
        "../../../bin/tool",
        "../../../bin/window",
    )
    points = "[console_scripts]\ntool = a:main\n[gui_scripts]\nwindow=a:main\n"
    assert names(*made, entry_points=points) == []


def test_only_the_own_metadata_of_an_installer_is_left_out() -> None:
    assert names("other/INSTALLER", "uv_helper.py") == ["other/INSTALLER", "uv_helper.py"]


def test_each_other_place_has_its_folder_in_the_wheel() -> None:
    paths = (
        "../../../bin/run-me",
        "../../../include/site/python3.11/my-pkg/deep/my.h",
        "../../../include/site/python3.11/other/your.h",
        "../../../share/man/x.1",
        "../../../etc/x.conf",
        "../../../lib64/python3.11/site-packages/fast.so",
    )
    assert names(*paths) == [
        "My.Pkg-1.0.data/data/etc/x.conf",
        "My.Pkg-1.0.data/data/include/site/python3.11/other/your.h",
        "My.Pkg-1.0.data/data/share/man/x.1",
        "My.Pkg-1.0.data/headers/deep/my.h",
        "My.Pkg-1.0.data/scripts/run-me",
        "fast.so",
    ]


@pytest.mark.parametrize(
    "path", ["../../../../x", "../../..", "../../../..", "/etc/x", "a/../../../../../x"]
)
def test_a_file_outside_of_the_environment_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="lies outside of the environment"):
        names(path)


@given(st.lists(st.sampled_from(["..", "a", "bin", "lib", "x.py", "", "."]), max_size=9))
def test_no_member_leads_out_of_the_wheel_or_the_environment(parts: list[str]) -> None:
    try:
        found = members(replace(PLAIN, paths=("/".join(parts),)))
    except ValueError:
        return
    for member in found:
        assert ".." not in (*member.name.split("/"), *member.source.split("/"))
        assert not member.name.startswith("/")


def test_damaged_entry_points_make_no_script_disappear() -> None:
    assert names("../../../bin/tool", entry_points="no section\n") == [
        "My.Pkg-1.0.data/scripts/tool"
    ]


def test_a_wheel_is_named_by_its_metadata_and_tags() -> None:
    assert wheel_name(PLAIN) == "my_pkg-1.0-py3-none-any.whl"
    assert (
        wheel_name(tagged("cp311-cp311-linux_x86_64")) == "my_pkg-1.0-cp311-cp311-linux_x86_64.whl"
    )
    assert wheel_name(tagged("py3-none-any", "py2-none-any")) == "my_pkg-1.0-py2.py3-none-any.whl"
    assert wheel_name(tagged("py3-none-any", build="2x")) == "my_pkg-1.0-2x-py3-none-any.whl"


def test_a_version_is_named_in_its_normal_form() -> None:
    metadata = "Name: my_pkg\nVersion: 1.0.Post1+CU12.x\n"
    assert wheel_name(replace(PLAIN, metadata=metadata)) == (
        "my_pkg-1.0.post1+cu12.x-py3-none-any.whl"
    )


@pytest.mark.parametrize("tags", [(), ("py3-none",), ("py2-none-any", "py3-cp31-any")])
def test_tags_that_no_name_can_tell_are_refused(tags: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="tags"):
        wheel_name(tagged(*tags))


@pytest.mark.parametrize("metadata", ["", "Name: a\n", "Name: ../a\nVersion: 1\n"])
def test_metadata_that_tell_no_name_are_refused(metadata: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        wheel_name(replace(PLAIN, metadata=metadata))


@pytest.mark.parametrize(
    "head",
    [
        f"#!{ENV}/bin/python\n",
        f"#!{ENV}/bin/python3\n",
        f"#!{ENV}/bin/python3.11 \r\n",
        f"#!/bin/sh\n'''exec' '{ENV}/bin/python' \"$0\" \"$@\"\n' '''\n",
        f"#!/bin/sh\n'''exec' \"{ENV}/bin/python3\" \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_a_script_for_the_environments_python_is_for_any(head: str) -> None:
    rest = f"print('{ENV}/bin/python')\n".encode()
    assert portable(head.encode() + rest, ["/elsewhere", ENV]) == b"#!python\n" + rest


@pytest.mark.parametrize(
    "head",
    [
        "#!/bin/sh\necho\n",
        "#!/usr/bin/python3\n",
        f"# {ENV}/bin/python\n",
        f"#!{ENV}x/bin/python\n",
    ],
)
def test_any_other_script_stays_as_it_is(head: str) -> None:
    assert portable(head.encode(), [ENV]) == head.encode()
