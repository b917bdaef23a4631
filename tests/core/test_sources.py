"""Whether locked files are from the indexes that they have to be from."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile
from provisioner.core.profile import Index
from provisioner.core.project import read_manifest
from provisioner.core.sources import (
    LockedReleases,
    Pin,
    Turn,
    profile_pins,
    project_pins,
    refuse_misplaced,
    source_indexes,
    with_indexes,
)
from provisioner.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

A, B = "https://a.test/simple/", "https://b.test/simple/"
ONE, OTHER = (Digest.parse(digit * 64) for digit in "12")
LINUX = {"sys_platform": "linux", "python_full_version": "3.11.7", "python_version": "3.11"}
PROJECT = """
[project]
name = "app"
dependencies = ["Torch; sys_platform == 'linux'", "numpy"]
[project.optional-dependencies]
cu12 = ["torch", "lean"]
cu13 = ["torch"]
[dependency-groups]
dev = ["lean"]
[[tool.uv.index]]
name = "a"
url = "https://a.test/simple/"
[[tool.uv.index]]
name = "b"
url = "https://b.test/simple/"
explicit = true
[[tool.uv.index]]
name = "here"
url = "./wheels"
[tool.uv]
"""


def pins(
    sources: str,
    *,
    extras: tuple[str, ...] = (),
    without: tuple[str, ...] = ("dev",),
    environment: Mapping[str, str] = LINUX,
    named: Mapping[str, str] | None = None,
) -> dict[str, set[str]]:
    """The names of the pinned indexes of each package, for the project with some sources."""
    data = tomllib.loads(PROJECT + sources)
    turn = Turn(extras=extras, groups=(), without=without, environment=environment)
    manifest = read_manifest(data, "pyproject.toml")
    found = project_pins([data["tool"]["uv"]], manifest, turn, named or {})
    return {package: {pin.name for pin in items} for package, items in found.items()}


def locked(
    package: str = "torch", index: str | None = A, digest: Digest = ONE, url: str | None = None
) -> LockedFile:
    """A locked wheel, below its index unless it lies elsewhere."""
    name = f"{package}-1.0-py3-none-any.whl"
    url = url or f"{(index or A).rstrip('/')}/{package}/{name}"
    return LockedFile(name=name, url=url, digest=digest, size=None, index=index)


def pinned(url: str) -> dict[str, tuple[Pin, ...]]:
    """`torch` bound to an index."""
    return {"torch": (Pin(name="own", url=url, who="`tool.uv.sources`"),)}


def refusal(
    file: LockedFile,
    pins: dict[str, tuple[Pin, ...]],
    *named: LockedFile,
    indexes: tuple[Index, ...] = (),
    held: frozenset[Digest] = frozenset(),
) -> PolicyError | None:
    """Why a file is refused, if it is."""
    try:
        refuse_misplaced(
            [file],
            pins,
            lambda _: named,
            lock="uv.lock",
            hint=", ".join,
            indexes=indexes,
            held=held,
        )
    except PolicyError as error:
        return error
    return None


# What a project says


def test_a_source_pins_what_the_project_itself_asks_for() -> None:
    assert pins('sources = {torch = {index = "b"}}') == {"torch": {"b"}}
    assert pins('sources = {torch = {index = "b"}, lean = {index = "a"}}') == {"torch": {"b"}}


def test_a_source_of_what_only_others_ask_for_pins_nothing() -> None:
    assert pins('sources = {pillow = {index = "b"}}') == {}


@pytest.mark.parametrize(
    ("extras", "expected"), [(("cu12",), {"torch": {"b"}}), (("cu13",), {}), ((), {})]
)
def test_a_source_of_an_extra_counts_for_that_extra(
    extras: tuple[str, ...], expected: dict[str, set[str]]
) -> None:
    mac = {**LINUX, "sys_platform": "darwin"}
    sources = 'sources = {torch = [{index = "b", extra = "CU12"}]}'
    assert pins(sources, extras=extras, environment=mac) == expected


def test_where_one_requirement_has_no_source_nothing_is_pinned() -> None:
    # The dependency itself comes from wherever uv finds it.
    assert pins('sources = {torch = [{index = "b", extra = "cu12"}]}', extras=("cu12",)) == {}


def test_extras_that_name_several_indexes_allow_each_of_them() -> None:
    sources = 'sources = {lean = [{index = "a", extra = "cu12"}, {index = "b", group = "dev"}]}'
    assert pins(sources, extras=("cu12",), without=()) == {"lean": {"a", "b"}}
    assert pins(sources, without=()) == {"lean": {"b"}}


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("sys_platform == 'linux'", {"torch": {"b"}}),
        ("sys_platform == 'darwin'", {}),
        ("no marker", {}),
    ],
)
def test_a_source_counts_where_its_marker_holds(marker: str, expected: dict[str, set[str]]) -> None:
    assert pins(f'sources = {{torch = {{index = "b", marker = "{marker}"}}}}') == expected


def test_a_requirement_counts_where_its_marker_holds() -> None:
    mac = {**LINUX, "sys_platform": "darwin"}
    assert pins('sources = {torch = {index = "b"}}', environment=mac) == {}


@pytest.mark.parametrize(
    "sources",
    [
        'sources = {torch = {path = "../torch"}}',
        'sources = {torch = {url = "https://x.test/torch-1.0-py3-none-any.whl"}}',
        'sources = {torch = {index = "here"}}',
        'sources = {torch = {index = "unknown"}}',
        'sources = {torch = "b"}',
        "sources = {torch = [1]}",
        "sources = 1",
        'no-sources = true\nsources = {torch = {index = "b"}}',
        'override-dependencies = ["torch==2"]\nsources = {torch = {index = "b"}}',
    ],
)
def test_what_is_no_source_at_an_index_pins_nothing(sources: str) -> None:
    assert pins(sources) == {}


def test_an_index_that_a_variable_names_takes_the_place_of_the_projects() -> None:
    data = tomllib.loads(PROJECT + 'sources = {torch = {index = "b"}}')
    turn = Turn(extras=(), groups=(), without=("dev",), environment=LINUX)
    manifest = read_manifest(data, "pyproject.toml")
    found = project_pins([data["tool"]["uv"]], manifest, turn, {"b": "https://mirror.test/"})
    assert [pin.url for pin in found["torch"]] == ["https://mirror.test/"]


def test_a_members_own_source_is_stronger_than_its_workspaces() -> None:
    data = tomllib.loads(PROJECT + 'sources = {torch = {index = "b"}}')
    root = tomllib.loads(
        '[[index]]\nname = "b"\nurl = "https://root.test/"\n[sources]\n'
        'torch = {index = "a"}\nnumpy = {index = "b"}\n'
    )
    turn = Turn(extras=(), groups=(), without=("dev",), environment=LINUX)
    manifest = read_manifest(data, "pyproject.toml")
    found = project_pins([data["tool"]["uv"], root], manifest, turn, {})
    assert {name: [pin.url for pin in items] for name, items in found.items()} == {
        "torch": [B],
        "numpy": [B],
    }


def test_a_profile_pins_the_packages_that_it_claims_to_the_first_index_that_does() -> None:
    own = Index(name="own", url=A, packages=("Torch*",), origin="profile `x`")
    later = Index(name="later", url=B, packages=("torch", "lean"))
    files = [locked("torchvision"), locked("torch"), locked("lean"), locked("numpy")]
    found = profile_pins(files, [own, later])
    assert {package: [pin.name for pin in items] for package, items in found.items()} == {
        "torchvision": ["own"],
        "torch": ["own"],
        "lean": ["later"],
    }


# What a lock has


@pytest.mark.parametrize(
    "index", [A, "https://a.test/simple", "https://a.test", "https://me:secret@A.test:443/simple/"]
)
def test_a_file_of_the_pinned_index_is_taken_however_it_is_written(index: str) -> None:
    assert refusal(locked(index=index, url=f"{A}torch.whl"), pinned(A)) is None


def test_a_file_of_another_index_is_refused_with_both() -> None:
    error = refusal(locked(index="https://me:secret@b.test/simple/"), pinned(A))
    assert error is not None
    assert (error.exit_code, error.code, error.hint) == (8, "wrong-index", "torch")
    (cause,) = error.causes
    assert "https://b.test/simple/" in cause
    assert "`own` (https://a.test/simple/)" in cause
    assert "secret" not in cause


def test_all_misplaced_files_are_told_at_once() -> None:
    files = [locked("torch", B), locked("lean", B), locked("numpy", B)]
    wanted = pinned(A) | {"lean": pinned(A)["torch"]}
    with pytest.raises(PolicyError) as caught:
        refuse_misplaced(files, wanted, lambda _: (), lock="uv.lock", hint=" ".join)
    assert len(caught.value.causes) == 2
    assert caught.value.hint == "torch lean"


def test_a_lock_without_indexes_is_believed_at_the_origin_of_the_pinned_one() -> None:
    assert refusal(locked(index=None), pinned(A)) is None
    assert refusal(locked(index=None, url="https://a.test/packages/x.whl"), pinned(A)) is None
    assert refusal(locked(index=None), {}) is None
    assert refusal(locked(index=None), pinned(B)) is not None


def test_a_lock_without_indexes_is_believed_where_the_pinned_one_names_the_file() -> None:
    elsewhere = locked(index=None, url="https://files.test/torch-1.0-py3-none-any.whl")
    assert refusal(elsewhere, pinned(A)) is not None
    assert refusal(elsewhere, pinned(A), replace(elsewhere, index=A)) is None
    assert refusal(elsewhere, pinned(A), replace(elsewhere, index=B)) is not None
    assert refusal(elsewhere, pinned(A), replace(elsewhere, index=A, digest=OTHER)) is not None


def test_files_at_the_hosts_that_an_index_is_known_for_are_its_own() -> None:
    pypi = "https://pypi.org/simple"
    url = "https://files.pythonhosted.org/packages/torch-1.0-py3-none-any.whl"
    other = locked(digest=OTHER, url=f"{pypi}/torch-1.0-py3-none-any.whl", index=pypi)
    assert refusal(locked(index=None, url=url), pinned(pypi)) is None
    assert refusal(locked(index=pypi, url=url), {}, other) is None


def test_a_file_at_another_origin_than_its_index_is_common() -> None:
    elsewhere = locked(url="https://files.test/torch-1.0-py3-none-any.whl")
    assert refusal(elsewhere, pinned(A)) is None
    assert refusal(elsewhere, pinned(A), replace(elsewhere, url=f"{A}x.whl")) is None
    assert (
        refusal(elsewhere, {}, locked("numpy", digest=OTHER), locked(index=B, digest=OTHER)) is None
    )


def test_a_file_elsewhere_that_its_index_knows_with_other_bytes_is_refused() -> None:
    elsewhere = locked(url="https://files.test/torch-1.0-py3-none-any.whl")
    error = refusal(elsewhere, {}, locked(digest=OTHER))
    assert error is not None
    (cause,) = error.causes
    assert ONE.hex in cause
    assert OTHER.hex in cause


def test_a_file_elsewhere_is_no_matter_where_its_bytes_are_held() -> None:
    elsewhere = locked(url="https://files.test/torch-1.0-py3-none-any.whl")
    assert refusal(elsewhere, {}, locked(digest=OTHER), held=frozenset({ONE})) is None


def configured(*urls: str, packages: tuple[str, ...] = ()) -> tuple[Index, ...]:
    """Indexes that somebody has set up."""
    return tuple(Index(name="", url=url, packages=packages) for url in urls)


@pytest.mark.parametrize("held", [frozenset[Digest](), frozenset({ONE})])
@pytest.mark.parametrize("url", [f"{B}torch/", "https://b.test/packages/"])
def test_a_file_that_lies_in_another_index_than_the_lock_records_is_refused(
    url: str, held: frozenset[Digest]
) -> None:
    file = locked(url=f"{url}torch-1.0-py3-none-any.whl")
    error = refusal(file, {}, indexes=configured(A, B), held=held)
    assert error is not None
    (cause,) = error.causes
    assert B in cause
    assert A in cause
    assert file.key in cause


def test_a_file_in_another_index_is_taken_where_a_page_of_its_own_names_it() -> None:
    file = locked(url=f"{B}torch/torch-1.0-py3-none-any.whl")
    assert refusal(file, {}, file, indexes=configured(A, B)) is None
    assert refusal(file, {}, replace(file, index=B), indexes=configured(A, B)) is not None


def test_a_file_that_only_another_index_names_is_refused_where_its_own_has_the_release() -> None:
    name = "torch-1.0-cp311-cp311-linux_x86_64.whl"
    file = replace(locked(url=f"https://files.test/{name}"), name=name)
    theirs, own = replace(file, index=B), locked(digest=OTHER)
    other_version = replace(own, name="torch-2.0-py3-none-any.whl")
    indexes = configured(A, B)
    assert refusal(file, {}, theirs, own, indexes=indexes) is not None
    assert refusal(file, {}, theirs, own, indexes=indexes, held=frozenset({ONE})) is None
    assert refusal(file, {}, theirs, own, indexes=configured(A)) is None
    assert refusal(file, {}, theirs, other_version, indexes=indexes) is None
    assert refusal(file, {}, theirs, indexes=indexes) is None
    assert refusal(file, {}, theirs, own, replace(file, index=A), indexes=indexes) is None


@pytest.mark.parametrize(
    ("own", "url", "other"),
    [
        # What an index is known to name, or nobody has set up as an index.
        (
            "https://pypi.org/simple",
            "https://files.pythonhosted.org/ab/",
            "https://pypi.org/simple",
        ),
        ("https://download.pytorch.org/whl/cu130", "https://pypi.nvidia.com/x/", B),
        (A, "https://files.test/", B),
        # Parts of one server.
        ("https://a.test/whl/cu128", "https://a.test/whl/", "https://a.test/whl"),
        ("https://a.test/whl", "https://a.test/whl/cu128/", "https://a.test/whl/cu128"),
        ("https://a.test/group/simple", "https://a.test/one/files/", "https://a.test/one/simple"),
    ],
)
def test_a_file_that_its_index_may_name_is_taken(own: str, url: str, other: str) -> None:
    indexes = configured(own, other, "https://pypi.nvidia.com/")
    file = locked(index=own, url=f"{url}torch-1.0-py3-none-any.whl")
    assert refusal(file, {}, indexes=indexes) is None


def test_of_two_indexes_of_one_server_the_file_of_the_other_is_refused() -> None:
    own, other = "https://a.test/whl/cu128", "https://a.test/whl/cu118"
    file = locked(index=own, url=f"{other}/torch-1.0-py3-none-any.whl")
    assert refusal(file, {}, indexes=configured(own, other)) is not None


def test_the_index_of_a_profile_counts_for_what_it_claims() -> None:
    file = locked(url=f"{B}torch/torch-1.0-py3-none-any.whl")
    assert refusal(file, {}, indexes=configured(B, packages=("torch*",))) is not None
    assert refusal(file, {}, indexes=configured(B, packages=("tensorrt*",))) is None


# What is asked for while building


def asks(locked_file: LockedFile, asked: LockedFile, *, hashed: bool = True) -> bool:
    """Whether a client may have a file, where a lock has another one."""
    releases = LockedReleases()
    releases.add(locked_file)
    try:
        releases.refuse_other(asked.url, asked if hashed else None)
    except PolicyError as error:
        return len(error.causes) != 2
    return True


def test_other_bytes_of_a_locked_release_from_another_index_are_refused() -> None:
    assert not asks(locked(), locked(index=B, digest=OTHER))
    assert not asks(locked(), locked(index=B, digest=OTHER), hashed=False)
    tagged = replace(locked(index=B, digest=OTHER), name="torch-1.0-cp311-cp311-linux_x86_64.whl")
    tagged = replace(tagged, url=f"{B}torch/{tagged.name}")
    assert not asks(locked(), tagged)


@pytest.mark.parametrize("hashed", [True, False])
def test_the_locked_file_itself_and_its_index_are_no_other(hashed: bool) -> None:  # noqa: FBT001
    assert asks(locked(), locked(), hashed=hashed)
    sdist = replace(locked(digest=OTHER), name="torch-1.0.tar.gz", url=f"{A}torch/torch-1.0.tar.gz")
    assert asks(locked(), sdist, hashed=hashed)
    assert asks(locked(index=None), replace(sdist, index="https://a.test/simple"), hashed=hashed)


def test_the_same_bytes_from_a_mirror_are_no_other() -> None:
    assert asks(locked(), locked(index=B))


def test_another_version_is_another_release() -> None:
    newer = "torch-2.0-py3-none-any.whl"
    other = replace(locked(index=B, digest=OTHER), name=newer, url=f"{B}torch/{newer}")
    assert asks(locked(), other)
    assert asks(locked("numpy"), locked(index=B, digest=OTHER))


# The indexes of a lock that gpuenv makes

LOCK = """\
lock-version = "1.0"
created-by = "uv"

[[packages]]
name = "torch"
version = "1.0"
wheels = [
    { url = "https://a.test/torch-1.0-py3-none-any.whl", hashes = { sha256 = "00" } },
    { url = "https://a.test/torch-1.0-cp311-cp311-win_amd64.whl", hashes = { sha256 = "00" } },
]

[[packages]]
name = "other"
index = "https://own.test/simple"
sdist = { url = "https://b.test/other-1.0.tar.gz", hashes = { sha256 = "00" } }

[[packages]]
name = "tree"
directory = { path = "tree" }
"""


def indexes(text: str) -> dict[str, str | None]:
    return {item["name"]: item.get("index") for item in tomllib.loads(text)["packages"]}


def test_a_lock_gets_the_index_that_all_files_of_a_package_are_from() -> None:
    made = with_indexes(LOCK, lambda url: A if "a.test" in url else B)
    assert indexes(made) == {"torch": A, "other": "https://own.test/simple", "tree": None}
    parsed, before = tomllib.loads(made), tomllib.loads(LOCK)
    del parsed["packages"][0]["index"]
    assert parsed == before


def test_a_lock_gets_no_index_where_it_is_not_known_of_every_file() -> None:
    assert with_indexes(LOCK, lambda _: None) == LOCK
    assert with_indexes(LOCK, lambda url: A if "win" in url else None) == LOCK
    assert with_indexes(LOCK, lambda url: A if "win" in url else B) == LOCK


@pytest.mark.parametrize("text", ["", 'lock-version = "1.0"\n'])
def test_a_lock_without_packages_stays_as_it_is(text: str) -> None:
    assert with_indexes(text, lambda _: A) == text


def test_all_indexes_that_sources_name_for_a_package_are_found_in_their_order() -> None:
    table = tomllib.loads(
        """
        [sources]
        Torch = [{ index = "a", extra = "x" }, { index = "b", extra = "y" }]
        local = { path = "." }
        absent = { index = "c" }
        [[index]]
        name = "a"
        url = "https://a.test/"
        [[index]]
        name = "b"
        url = "https://b.test/"
        """
    )
    assert source_indexes([table], {}) == {"torch": ("https://a.test/", "https://b.test/")}
    named = {"b": "https://other.test/"}
    assert source_indexes([table], named)["torch"][1] == "https://other.test/"
    assert source_indexes([{**table, "no-sources": True}], {}) == {}
