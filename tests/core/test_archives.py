"""Whether an archive is what its file name says: each rule, and names in all their spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from provisioner.core.archives import info_folders, source_faults, wheel_faults

WHEEL = "demo_tool-1.0-py3-none-any.whl"
INFO = "demo_tool-1.0.dist-info"
MEMBERS = ("demo_tool/__init__.py", f"{INFO}/METADATA", f"{INFO}/RECORD")

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,10}[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(rc[0-9]|\.post[0-9])?", fullmatch=True)


def metadata(name: str = "demo-tool", version: str = "1.0") -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nwords\n".encode()


def test_a_wheel_as_it_has_to_be_has_no_fault() -> None:
    assert wheel_faults(WHEEL, MEMBERS, metadata()) == ()


@given(name=NAMES, version=VERSIONS)
def test_a_wheel_may_spell_its_project_in_any_way(name: str, version: str) -> None:
    escaped = name.replace("-", "_")
    folder = f"{escaped}-{version}.dist-info"
    members = (f"{folder}/METADATA",)
    found = wheel_faults(
        f"{escaped.lower()}-{version}-py3-none-any.whl", members, metadata(name, version)
    )
    assert found == ()


@given(name=NAMES, version=VERSIONS)
def test_a_source_distribution_may_spell_its_project_in_any_way(name: str, version: str) -> None:
    assert source_faults(f"{name.lower()}-{version}.tar.gz", metadata(name, version)) == ()


@given(version=VERSIONS, other=VERSIONS)
def test_a_version_is_compared_as_pep_440_says(version: str, other: str) -> None:
    found = source_faults(f"demo-{version}.zip", metadata("demo", other))
    assert bool(found) == (Version(version) != Version(other))


def test_another_name_and_version_are_told_with_both_values() -> None:
    assert wheel_faults(WHEEL, MEMBERS, metadata("evil", "2.0")) == (
        f"`{INFO}/METADATA` names `evil`, its file name `demo-tool`",
        f"`{INFO}/METADATA` has version `2.0`, its file name `1.0`",
    )
    assert source_faults("demo-tool-1.0.tar.gz", metadata("evil", "2.0")) == (
        "`PKG-INFO` names `evil`, its file name `demo-tool`",
        "`PKG-INFO` has version `2.0`, its file name `1.0`",
    )


def test_what_metadata_does_not_tell_is_nothing() -> None:
    assert wheel_faults(WHEEL, MEMBERS, b"Metadata-Version: 2.1\n") == (
        f"`{INFO}/METADATA` names `nothing`, its file name `demo-tool`",
        f"`{INFO}/METADATA` has version `nothing`, its file name `1.0`",
    )


def test_a_local_version_may_be_missing_in_the_metadata_alone() -> None:
    members = ("torch-2.1+cu121.dist-info/METADATA",)
    local, plain = "torch-2.1+cu121-py3-none-any.whl", "torch-2.1-py3-none-any.whl"
    assert wheel_faults(local, members, metadata("torch", "2.1")) == ()
    assert wheel_faults(local, members, metadata("torch", "2.1+cu121")) == ()
    assert len(wheel_faults(local, members, metadata("torch", "2.1+cu118"))) == 1
    assert len(wheel_faults(plain, members, metadata("torch", "2.1+cu121"))) == 1


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ((), "none"),
        (("demo/x.dist-info/METADATA",), "none"),
        ((*MEMBERS, "other-1.0.dist-info/METADATA"), f"`{INFO}`, `other-1.0.dist-info`"),
    ],
)
def test_a_wheel_has_one_folder_of_metadata(members: tuple[str, ...], found: str) -> None:
    assert wheel_faults(WHEEL, members, None) == (
        f"a wheel has one `.dist-info` folder, this one has {found}",
    )


def test_the_folder_of_metadata_is_that_of_the_project() -> None:
    members = ("evil-1.0.dist-info/METADATA",)
    assert info_folders(members) == ("evil-1.0.dist-info",)
    assert wheel_faults(WHEEL, members, metadata()) == (
        "its folder is `evil-1.0.dist-info`, its file name says `demo-tool`",
    )


def test_a_folder_of_metadata_without_metadata_is_a_fault() -> None:
    assert wheel_faults(WHEEL, MEMBERS, None) == (f"`{INFO}/METADATA` is missing",)


@pytest.mark.parametrize(
    ("member", "cause"),
    [
        ("/etc/passwd", "is an absolute path"),
        ("C:/x", "is an absolute path"),
        ("c:x", "is an absolute path"),
        ("../x", "leads out of the archive"),
        ("demo/../../x", "leads out of the archive"),
        ("demo/..", "leads out of the archive"),
        ("demo\\x", "has a backslash in its name"),
        ("", "has no proper name"),
    ],
)
def test_a_member_that_would_lie_elsewhere_is_a_fault(member: str, cause: str) -> None:
    shown = member.replace("\\", "\\\\")
    found = wheel_faults(WHEEL, (*MEMBERS, member), metadata())
    assert found == (f"the member `{shown}` {cause}",)


def test_a_name_that_ends_early_for_some_is_a_fault_that_can_be_printed() -> None:
    found = wheel_faults(WHEEL, (*MEMBERS, "x.py\0.txt"), metadata())
    assert found == ("the member `x.py\\x00.txt` has no proper name",)


@pytest.mark.parametrize("member", ["demo/...", "..demo", "demo/..x", "a/b:c"])
def test_a_member_that_only_looks_strange_is_no_fault(member: str) -> None:
    assert wheel_faults(WHEEL, (*MEMBERS, member), metadata()) == ()


def test_a_member_that_is_there_twice_is_a_fault_and_a_folder_is_not() -> None:
    twice = ("demo/x", "demo/x", "demo/", "demo/")
    assert wheel_faults(WHEEL, (*MEMBERS, *twice), metadata()) == (
        "the member `demo/x` is there 2 times",
    )


def test_many_faults_of_one_kind_are_counted() -> None:
    many = tuple(f"../{number}" for number in range(100))
    found = wheel_faults(WHEEL, (*MEMBERS, *many), metadata("evil"))
    assert len(found) == 7
    assert found[5] == "and 95 more of its members"
    assert "`evil`" in found[6]


@pytest.mark.parametrize("name", ["demo.whl", "demo-latest-py3-none-any.whl"])
def test_a_file_name_that_tells_no_version_is_not_compared(name: str) -> None:
    assert wheel_faults(name, MEMBERS, metadata("other")) == ()


@pytest.mark.parametrize("name", ["main.zip", "v1.0.tar.gz", "demo.tar.gz"])
def test_an_archive_of_a_repository_is_not_compared(name: str) -> None:
    assert source_faults(name, metadata("other")) == ()


def test_a_source_distribution_without_metadata_is_not_judged() -> None:
    assert source_faults("demo-1.0.tar.gz", None) == ()


def test_a_source_distribution_may_be_read_in_every_way_that_its_dashes_allow() -> None:
    for told in (("demo", "1.0-2"), ("demo-1.0", "2")):
        assert source_faults("demo-1.0-2.tar.gz", metadata(*told)) == ()
    assert source_faults("demo-1.0-2.tar.gz", metadata("demo", "1.0")) == (
        "`PKG-INFO` has version `1.0`, its file name `1.0-2`",
    )
