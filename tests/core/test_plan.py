"""From a lock to the files that a target needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.digest import Digest
from provisioner.core.host import Platform
from provisioner.core.interpreter import Interpreter
from provisioner.core.plan import (
    LockedFile,
    LockedSet,
    files_by_url,
    in_turns,
    plan_fetch,
    read_lock,
)
from provisioner.errors import LockError
from tests.core.examples import LINUX

PYTHON = Interpreter(version="3.12")
AARCH64 = replace(LINUX, machine="aarch64")
MUSL = replace(LINUX, libc=("musl", "1.2"))
MAC = Platform(system="macos", machine="arm64", kind="macos", libc=None)
HEAD = 'lock-version = "1.0"\ncreated-by = "uv"\n'

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "musllinux_1_2_x86_64")


def digest(number: int) -> Digest:
    return Digest.parse(f"{number:064x}")


def file(name: str, number: int, size: int | None = 10) -> str:
    """One file of a lock, as TOML."""
    sized = "" if size is None else f"size = {size}, "
    return (
        f'{{url = "https://user:word@pypi.org/files/{name}", {sized}'
        f'hashes = {{sha256 = "{number:064x}"}}}}'
    )


def package(name: str, *files: str, more: str = "", version: str = "1") -> str:
    """One package of a lock; a file that is no wheel is its source distribution."""
    wheels = ", ".join(item for item in files if ".whl" in item)
    (sdist,) = [f"sdist = {item}" for item in files if ".whl" not in item] or [""]
    head = f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\n{more}\n'
    return f"{head}wheels = [{wheels}]\n{sdist}\n"


def read(
    *packages: str, platform: Platform = LINUX, python: Interpreter = PYTHON, head: str = HEAD
) -> LockedSet:
    return read_lock(head + "".join(packages), python, platform, "pylock.cu12.toml")


def chosen(*packages: str, platform: Platform = LINUX, python: Interpreter = PYTHON) -> list[str]:
    return [item.name for item in read(*packages, platform=platform, python=python).files]


NATIVE = package(
    "x",
    *(
        file(f"x-1-{python}-{python}-{platform}.whl", 10 * row + column)
        for row, python in enumerate(("cp311", "cp312", "cp313"))
        for column, platform in enumerate(PLATFORMS)
    ),
    file("x-1.tar.gz", 99),
)


@pytest.mark.parametrize(
    ("platform", "python", "name"),
    [
        (LINUX, "3.12", "x-1-cp312-cp312-manylinux_2_28_x86_64.whl"),
        (LINUX, "3.13.2", "x-1-cp313-cp313-manylinux_2_28_x86_64.whl"),
        (AARCH64, "3.11", "x-1-cp311-cp311-manylinux_2_28_aarch64.whl"),
        (MUSL, "3.12", "x-1-cp312-cp312-musllinux_1_2_x86_64.whl"),
        (replace(LINUX, libc=("glibc", "2.26")), "3.12", "x-1.tar.gz"),
        (MAC, "3.12", "x-1.tar.gz"),
        (LINUX, "3.14", "x-1.tar.gz"),
    ],
)
def test_one_file_of_a_package_is_chosen_for_the_target(
    platform: Platform, python: str, name: str
) -> None:
    assert chosen(NATIVE, platform=platform, python=Interpreter(version=python)) == [name]


def test_a_file_has_its_url_name_size_and_digest() -> None:
    (found,) = read(
        package("x", file("x-1%2Bcu12-py3-none-any.whl", 7, 42), version="1+cu12")
    ).files
    assert found == LockedFile(
        name="x-1+cu12-py3-none-any.whl",
        url="https://user:word@pypi.org/files/x-1%2Bcu12-py3-none-any.whl",
        digest=digest(7),
        size=42,
    )
    assert found.key == "https://pypi.org/files/x-1%2Bcu12-py3-none-any.whl"


def test_an_unknown_size_stays_unknown() -> None:
    (found,) = read(package("x", file("x-1-py3-none-any.whl", 7, None))).files
    assert found.size is None


def test_a_package_whose_marker_does_not_hold_is_left_out() -> None:
    packages = (
        package("a", file("a-1-py3-none-any.whl", 1), more="marker = \"sys_platform == 'linux'\""),
        package("b", file("b-1-py3-none-any.whl", 2), more="marker = \"sys_platform == 'darwin'\""),
    )
    assert chosen(*packages) == ["a-1-py3-none-any.whl"]
    assert chosen(*packages, platform=MAC) == ["b-1-py3-none-any.whl"]


def test_folders_of_this_machine_are_no_files() -> None:
    folder = '\n[[packages]]\nname = "app"\ndirectory = {path = ".", editable = true}\n'
    found = read(folder, package("x", file("x-1-py3-none-any.whl", 1)))
    assert found.folders == (".",)
    assert [item.name for item in found.files] == ["x-1-py3-none-any.whl"]


def test_an_archive_by_url_is_a_file() -> None:
    archive = f'\n[[packages]]\nname = "x"\narchive = {file("x-1.tar.gz", 3)}\n'
    assert [item.digest for item in read(archive).files] == [digest(3)]


@pytest.mark.parametrize("where", ['url = "file:///srv/{}"', 'path = "wheels/{}"'])
def test_a_file_of_this_machine_is_not_fetched(where: str) -> None:
    local = f'{{{where.format("x-1-py3-none-any.whl")}, hashes = {{md5 = "00"}}}}'
    assert read(package("x", local)) == LockedSet(files=(), elsewhere=("x",))


def test_a_repository_is_left_to_uv() -> None:
    vcs = (
        '\n[[packages]]\nname = "x"\n'
        'vcs = {type = "git", url = "https://git.example/x", commit-id = "0123"}\n'
    )
    assert read(vcs) == LockedSet(files=(), elsewhere=("x",))


def test_what_uv_lock_takes_from_a_url_is_known_with_its_hash() -> None:
    def taken(source: dict[str, str], **more: object) -> dict[str, object]:
        return {"name": "a", "version": "1", "source": source, **more}

    wheel, sdist = "https://a.test/a-1-py3-none-any.whl", "https://u:p@a.test/b-1.tar.gz"
    packages: list[object] = [
        taken({"url": wheel}, wheels=[{"url": wheel, "hash": f"sha256:{digest(1)}"}]),
        taken({"url": sdist}, sdist={"hash": f"sha256:{digest(2)}"}),
        taken({"registry": "https://a.test/"}, sdist={"hash": f"sha256:{digest(3)}"}),
        taken({"url": "https://a.test/c-1.tar.gz"}, sdist={"hash": "sha512:00"}),
        taken({"url": "file:///c-1.tar.gz"}, sdist={"hash": f"sha256:{digest(4)}"}),
        taken({"url": "https://a.test/d-1.tar.gz"}),
        "nonsense",
    ]
    found = files_by_url({"version": 1, "package": packages})
    assert [(file.key, file.digest) for file in found] == [
        (wheel, digest(1)),
        ("https://a.test/b-1.tar.gz", digest(2)),
    ]
    assert files_by_url({"package": 1}) == ()


def test_an_empty_lock_needs_nothing() -> None:
    assert read(head=f"{HEAD}packages = []\n") == LockedSet(files=())


def test_every_file_without_a_sha256_is_named_at_once() -> None:
    def weak(name: str, hashes: str) -> str:
        return f'{{url = "https://pypi.org/{name}", hashes = {{{hashes}}}}}'

    with pytest.raises(LockError) as caught:
        read(
            package("a", weak("a-1-py3-none-any.whl", 'md5 = "00", sha1 = "11"')),
            package("b", file("b-1-py3-none-any.whl", 2)),
            package("c", weak("c-1-py3-none-any.whl", 'sha256 = "zz"')),
        )
    assert caught.value.message == "lock `pylock.cu12.toml` names files that cannot be verified"
    assert caught.value.causes == (
        "`a`: `a-1-py3-none-any.whl` has no SHA-256, its hashes are `md5`, `sha1`",
        "`c`: `zz` is not a SHA-256",
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("lock-version = = 1", "line 1"),
        ('lock-version = "1.0"', "created-by"),
        ('lock-version = "9.0"\ncreated-by = "uv"\npackages = []', "9.0"),
        (f"{HEAD}packages = 1", "packages"),
        (HEAD + package("x", file("x.whl", 1)), "x.whl"),
        (f'{HEAD}\n[[packages]]\nname = "x"\n', "packages[0]"),
    ],
)
def test_a_malformed_lock_is_an_error_that_names_the_file_and_the_place(
    text: str, cause: str
) -> None:
    with pytest.raises(LockError, match=r"lock `pylock\.cu12\.toml` is malformed") as caught:
        read_lock(text, PYTHON, LINUX, "pylock.cu12.toml")
    assert caught.value.exit_code == 1
    assert cause in "\n".join(caught.value.causes)


@pytest.mark.parametrize(
    ("head", "platform"),
    [
        (f'{HEAD}requires-python = ">=3.13"\n', LINUX),
        (f"{HEAD}environments = [\"sys_platform == 'win32'\"]\n", LINUX),
        (HEAD, AARCH64),
    ],
)
def test_a_lock_without_files_for_the_target_says_so(head: str, platform: Platform) -> None:
    with pytest.raises(LockError, match="has no files for the target") as caught:
        read(
            package("x", file("x-1-cp312-cp312-manylinux_2_28_x86_64.whl", 1)),
            head=head,
            platform=platform,
        )
    assert caught.value.code == "lock-unsupported"
    assert caught.value.causes


FILES = st.lists(
    st.builds(
        LockedFile,
        name=st.sampled_from(["a.whl", "b.whl", "c.tar.gz"]),
        url=st.sampled_from(["https://one.example/x", "https://two.example/x"]),
        digest=st.integers(0, 8).map(digest),
        size=st.none() | st.integers(0, 10**10),
    )
)
HELD = st.frozensets(st.integers(0, 8).map(digest))


@given(FILES, HELD)
def test_a_plan_splits_the_files_into_missing_and_held(
    files: list[LockedFile], held: frozenset[Digest]
) -> None:
    plan = plan_fetch(files, held)
    missing = {item.digest for item in plan.missing}
    kept = {item.digest for item in plan.held}
    assert missing | kept == {item.digest for item in files}
    assert not missing & held
    assert kept <= held
    assert set(plan.missing) | set(plan.held) <= set(files)


@given(FILES, HELD)
def test_every_digest_is_planned_once_whatever_names_it_has(
    files: list[LockedFile], held: frozenset[Digest]
) -> None:
    plan = plan_fetch(files, held)
    planned = [item.digest for item in (*plan.missing, *plan.held)]
    assert len(planned) == len({item.digest for item in files})
    assert len(planned) == len(set(planned))


@given(FILES)
def test_the_greatest_file_is_fetched_first(files: list[LockedFile]) -> None:
    sizes = [item.size or 0 for item in plan_fetch(files, frozenset()).missing]
    assert sizes == sorted(sizes, reverse=True)


@given(FILES, HELD, st.lists(st.lists(st.integers(0, 30), max_size=5), max_size=4))
def test_a_plan_in_turns_has_the_files_of_the_first_group_first(
    files: list[LockedFile], held: frozenset[Digest], numbers: list[list[int]]
) -> None:
    plan = plan_fetch(files, held)
    groups = [[files[number % len(files)] for number in group] for group in numbers if files]
    turned = in_turns(plan, groups)
    assert turned.held == plan.held
    assert set(turned.missing) == set(plan.missing)
    asked = [{item.digest for item in group} for group in groups]
    turns = [
        next((turn for turn, group in enumerate(asked) if item.digest in group), len(asked))
        for item in turned.missing
    ]
    assert turns == sorted(turns)
    for turn in set(turns):
        sizes = [i.size or 0 for i, at in zip(turned.missing, turns, strict=True) if at == turn]
        assert sizes == sorted(sizes, reverse=True)


def test_of_two_files_with_one_digest_the_first_is_fetched() -> None:
    first, second = (
        LockedFile(name="x.whl", url=url, digest=digest(1), size=1)
        for url in ("https://one.example/x.whl", "https://two.example/x.whl")
    )
    assert plan_fetch([first, second], ()).missing == (first,)


# What an installer may take instead


def test_every_wheel_and_source_distribution_is_known_for_other_targets_too() -> None:
    found = read(
        NATIVE,
        package("mac", file("mac-1-py3-none-any.whl", 50), more="marker = \"os_name == 'nt'\""),
        f'\n[[packages]]\nname = "y"\narchive = {file("y-1.tar.gz", 60)}\n',
    )

    assert [item.name for item in found.files] == [
        "x-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "y-1.tar.gz",
    ]
    assert {item.name: item.digest for item in found.known} == {
        **{
            f"x-1-{python}-{python}-{platform}.whl": digest(10 * row + column)
            for row, python in enumerate(("cp311", "cp312", "cp313"))
            for column, platform in enumerate(PLATFORMS)
        },
        "x-1.tar.gz": digest(99),
        "mac-1-py3-none-any.whl": digest(50),
        "y-1.tar.gz": digest(60),
    }
    assert set(found.files) <= set(found.known)


def test_what_is_known_is_the_same_for_every_target() -> None:
    assert read(NATIVE).known == read(NATIVE, platform=AARCH64).known


@pytest.mark.parametrize("hashes", ['md5 = "00"', 'sha256 = "zz"'])
def test_a_file_for_another_target_that_cannot_be_verified_is_just_not_known(hashes: str) -> None:
    weak = f'{{url = "https://pypi.org/x-1-py3-none-win32.whl", hashes = {{{hashes}}}}}'
    local = '{path = "x-1-py3-none-win_amd64.whl", hashes = {sha256 = "' + "0" * 64 + '"}}'

    found = read(package("x", weak, local, file("x-1-py3-none-any.whl", 1)))

    assert [item.name for item in found.known] == ["x-1-py3-none-any.whl"]
    assert found.files == found.known
