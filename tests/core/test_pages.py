"""Index pages: how long they may be reused, and the hashes of the files that they name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.digest import Digest
from provisioner.core.pages import (
    JSON_PAGE,
    is_file,
    is_routed,
    lifetime,
    listed_files,
    named_files,
)
from provisioner.core.plan import LockedFile
from provisioner.core.profile import Index
from provisioner.core.simple_index import ListedFile

if TYPE_CHECKING:
    from collections.abc import Mapping

HASH = "ab" * 32
PAGE = "https://pypi.nvidia.com/simple/x/"
HTML = {"content-type": "text/html; charset=utf-8"}
JSON = {"content-type": JSON_PAGE}
NVIDIA = Index(
    name="nvidia",
    url="https://pypi.nvidia.com/",
    packages=("tensorrt*",),
)
TORCH = Index(name="torch", url="https://download.pytorch.org/whl/cu128", packages=("torch",))


def found(url: str, size: int | None = None) -> LockedFile:
    return LockedFile(name=url.rpartition("/")[2], url=url, digest=Digest.parse(HASH), size=size)


def from_html(body: str, url: str = PAGE, headers: Mapping[str, str] = HTML) -> list[str]:
    return [file.url for file in named_files(body.encode(), headers, url)]


# Pages


def test_a_json_page_names_its_files_with_their_sizes() -> None:
    body = json.dumps(
        {
            "files": [
                {"url": "../../files/x-1.whl", "size": 7, "hashes": {"sha256": HASH}},
                {"url": "https://files.example/x-2.whl", "hashes": {"sha256": HASH.upper()}},
                {"url": "x-3.whl", "hashes": {"md5": "00"}},
                {"url": "x-4.whl", "hashes": {"sha256": "short"}},
                {"url": "x-5.whl", "hashes": {}},
            ]
        }
    ).encode()
    assert named_files(body, JSON, PAGE) == (
        found("https://pypi.nvidia.com/files/x-1.whl", 7),
        found("https://files.example/x-2.whl"),
    )


def test_an_html_page_names_the_files_with_a_hash_in_their_links() -> None:
    body = f"""<!DOCTYPE html><html><body>
    <a href="x-1.whl#sha256={HASH}">x-1.whl</a>
    <a href="../../files/x-2.whl#sha256={HASH}" data-requires-python="&gt;=3.8">x-2.whl</a>
    <A HREF="https://files.example/x-3.whl#egg=x&amp;sha256={HASH}">x-3.whl</A>
    <a href="/x%2B4.whl#sha256={HASH}">x-4.whl</a>
    <a href="x-5.whl#md5=00">x-5.whl</a>
    <a href="x-6.whl">x-6.whl</a>
    <a>no link</a>
    </body></html>"""
    assert from_html(body) == [
        "https://pypi.nvidia.com/simple/x/x-1.whl",
        "https://pypi.nvidia.com/files/x-2.whl",
        "https://files.example/x-3.whl",
        "https://pypi.nvidia.com/x%2B4.whl",
    ]


def test_the_name_of_a_file_is_decoded_and_its_url_is_not() -> None:
    body = f'<a href="x-1%2Bcu128.whl#sha256={HASH}">x</a>'.encode()
    (file,) = named_files(body, HTML, PAGE)
    assert file.name == "x-1+cu128.whl"
    assert file.url.endswith("/x-1%2Bcu128.whl")


def test_links_are_relative_to_the_base_of_the_page() -> None:
    body = f'<base href="https://files.example/a/"><a href="x.whl#sha256={HASH}">x</a>'
    assert from_html(body) == ["https://files.example/a/x.whl"]


def test_the_base_of_a_page_may_be_relative_itself() -> None:
    body = f'<base href="/files/"><a href="x.whl#sha256={HASH}">x</a>'
    assert from_html(body) == ["https://pypi.nvidia.com/files/x.whl"]


@pytest.mark.parametrize(
    "kind", ["text/html", "TEXT/HTML;charset=latin-1", "application/vnd.pypi.simple.v1+html"]
)
def test_html_comes_under_more_than_one_name(kind: str) -> None:
    body = f'<a href="x.whl#sha256={HASH}">x</a>'
    assert from_html(body, headers={"content-type": kind}) == [f"{PAGE}x.whl"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", JSON),
        (b"{", JSON),
        (b"[]", JSON),
        (b'{"files": 1}', JSON),
        (b'{"files": [1]}', JSON),
        (b"[" * 200_000, JSON),
        (b'{"files": [{"url": "x.whl"}]}', JSON),
        (b'{"files": [{"url": 1, "hashes": {"sha256": "00"}}]}', JSON),
        (b"\xff\xfe", JSON),
        (b"", HTML),
        (b"\xff\xfe<a", HTML),
        (f'<a href="x.whl#sha256={HASH}">'.encode(), {}),
        (f'<a href="x.whl#sha256={HASH}">'.encode(), {"content-type": "text/plain"}),
    ],
)
def test_what_cannot_be_read_names_no_file(body: bytes, headers: dict[str, str]) -> None:
    assert named_files(body, headers, PAGE) == ()


def test_a_link_that_is_no_url_does_not_hide_the_others() -> None:
    body = f'<a href="http://[bad/y.whl#sha256={HASH}">y</a><a href="x.whl#sha256={HASH}">x</a>'
    assert from_html(body) == [f"{PAGE}x.whl"]


@given(st.binary(max_size=200), st.sampled_from([HTML, JSON]))
def test_no_body_is_an_error(body: bytes, headers: dict[str, str]) -> None:
    assert named_files(body, headers, PAGE) == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.org/x-1-py3-none-any.whl",
        "https://pypi.org/x-1.tar.gz#sha256=00",
        "https://pypi.org/x-1.zip?token=1",
        "https://pypi.org/X-1.WHL",
    ],
)
def test_wheels_and_source_distributions_are_files(url: str) -> None:
    assert is_file(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.org/simple/x/",
        "https://pypi.org/x-1-py3-none-any.whl.metadata",
        "https://pypi.org/x?file=x.whl",
        "https://pypi.org/x#x.whl",
    ],
)
def test_pages_and_metadata_are_no_files(url: str) -> None:
    assert not is_file(url)


# Lifetime


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        ("max-age=600", 600),
        ("public, max-age=600", 600),
        ("public,max-age=600,must-revalidate", 600),
        ("Max-Age=600", 600),
        ("max-age=365000000, immutable", 365_000_000),
        ("max-age=0", 0),
        ("", 0),
        ("public", 0),
        ("s-maxage=600", 0),
        ("max-age=soon", 0),
        ("max-age=-1", 0),
        ("no-store", 0),
        ("no-store, max-age=600", 0),
        ("max-age=600, no-cache", 0),
        ("max-age=600, no-cache=set-cookie", 0),
        ("No-Store, max-age=600", 0),
        ("max-age=600, x-no-store", 600),
    ],
)
def test_an_answer_lives_as_long_as_its_cache_control_says(control: str, seconds: int) -> None:
    assert lifetime(control) == seconds


@given(st.integers(0, 10**9), st.permutations(["public", "must-revalidate", "immutable"]))
def test_the_age_counts_wherever_it_stands(seconds: int, others: list[str]) -> None:
    for place in range(len(others) + 1):
        parts = [*others[:place], f"max-age={seconds}", *others[place:]]
        assert lifetime(", ".join(parts)) == seconds


# Packages that are bound to indexes


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.nvidia.com/tensorrt-cu12/",
        "https://pypi.nvidia.com/tensorrt-cu12",
        "https://download.pytorch.org/whl/cu128/torch/",
        "https://pypi.org/simple/numpy/",
        "https://pypi.org/x/tensorrt-1-py3-none-any.whl.metadata",
        "https://pypi.org/simple/torchvision/",
    ],
)
def test_a_page_may_be_asked_for_where_its_package_is_bound(url: str) -> None:
    assert is_routed(url, [NVIDIA, TORCH])


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.org/simple/tensorrt-cu12/",
        "https://pypi.org/simple/tensorrt",
        "https://pypi.org/simple/torch/",
        "https://pypi.nvidia.com/numpy/",
        "https://pypi.nvidia.com/torch/",
        "https://download.pytorch.org/whl/cu128/tensorrt/",
    ],
)
def test_a_page_may_not_be_asked_for_anywhere_else(url: str) -> None:
    assert not is_routed(url, [NVIDIA, TORCH])


def test_without_bindings_every_page_may_be_asked_for() -> None:
    assert is_routed("https://pypi.org/simple/tensorrt/", [])


def test_of_two_indexes_that_bind_a_package_the_first_has_it() -> None:
    mirror = Index(name="mirror", url="https://mirror.example/simple/", packages=("tensorrt*",))
    assert is_routed("https://mirror.example/simple/tensorrt/", [mirror, NVIDIA])
    assert not is_routed("https://pypi.nvidia.com/tensorrt/", [mirror, NVIDIA])


@pytest.mark.parametrize("pattern", ["TensorRT*", "nvidia_cublas*", "Nvidia.Cublas-cu12"])
def test_a_pattern_binds_a_package_however_its_name_is_spelled(pattern: str) -> None:
    name = "tensorrt-cu12" if pattern.startswith("T") else "nvidia-cublas-cu12"
    index = Index(name="nvidia", url="https://pypi.nvidia.com/", packages=(pattern,))
    assert is_routed(f"https://pypi.nvidia.com/{name}/", [index])
    assert not is_routed(f"https://pypi.org/simple/{name}/", [index])


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.org/simple/tensorrt-metadata/",
        "https://pypi.org/simple/tensorrt-metadata",
        "https://pypi.org/simple/TensorRT_Metadata/",
        "https://pypi.nvidia.com/importlib-metadata/",
    ],
)
def test_a_package_whose_name_ends_like_metadata_is_bound_like_any_other(url: str) -> None:
    assert not is_routed(url, [NVIDIA, TORCH])


@pytest.mark.parametrize(
    "url",
    [
        "https://pypi.nvidia.com/tensorrt-metadata/",
        "https://pypi.org/simple/importlib-metadata/",
        "https://files.example/tensorrt-1.0-py3-none-any.whl.metadata",
        "https://pypi.nvidia.com/numpy/numpy-1.0-py3-none-any.whl.metadata",
        "https://files.example/tensorrt-1.0-py3-none-any.whl.metadata?x=1",
    ],
)
def test_metadata_of_a_file_is_bound_to_no_index(url: str) -> None:
    assert is_routed(url, [NVIDIA, TORCH])


# All that a page lists


def test_what_a_json_page_says_of_a_file_is_read() -> None:
    item = {
        "url": f"x-1.whl#sha256={HASH}",
        "hashes": {"sha256": HASH},
        "size": 7,
        "upload-time": "2024-01-01T00:00:00Z",
        "requires-python": ">=3.9",
        "yanked": "broken",
        "core-metadata": {"sha256": "cd" * 32},
    }
    bad: list[object] = [1, {"url": "y.whl"}, {"url": "http://[", "hashes": {}}]
    (file,) = listed_files(json.dumps({"files": [*bad, item]}).encode(), JSON, PAGE)
    assert file == ListedFile(
        name="x-1.whl",
        url=f"{PAGE}x-1.whl",
        digest=Digest(HASH),
        size=7,
        uploaded="2024-01-01T00:00:00Z",
        requires_python=">=3.9",
        yanked="broken",
        metadata=Digest("cd" * 32),
    )


def test_what_an_html_page_says_of_a_file_is_read() -> None:
    body = (
        f'<a href="x-1.whl#sha256={HASH}" data-requires-python="&gt;=3.9" data-yanked'
        f' data-dist-info-metadata="sha256={"cd" * 32}">x</a><a href="y-1.whl">y</a>'
    )
    one, two = listed_files(body.encode(), HTML, PAGE)
    assert (one.requires_python, one.yanked, one.metadata) == (">=3.9", "", Digest("cd" * 32))
    assert (two.name, two.digest, two.yanked, two.metadata) == ("y-1.whl", None, None, None)


def test_of_metadata_without_a_hash_nothing_is_known() -> None:
    listed: list[object] = [{"url": "x.whl", "hashes": {}, "core-metadata": True, "yanked": False}]
    (file,) = listed_files(json.dumps({"files": listed}).encode(), JSON, PAGE)
    assert (file.metadata, file.yanked, file.size) == (None, None, None)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("x-1-py3-none-any.whl", "x-1-py3-none-any.whl"),
        ("../x-1.whl", "123"),
        ("", "123"),
        (7, "123"),
        (None, "123"),
    ],
)
def test_a_file_has_the_name_that_json_tells_whatever_its_url(told: object, name: str) -> None:
    item = {"filename": told, "url": "https://x.test/download/123?key=1", "hashes": {}}
    (file,) = listed_files(json.dumps({"files": [item]}).encode(), JSON, PAGE)
    assert file.name == name


def test_true_is_no_size() -> None:
    item = {"url": "x-1.whl", "size": True, "hashes": {}}
    (file,) = listed_files(json.dumps({"files": [item]}).encode(), JSON, PAGE)
    assert file.size is None


def test_a_lifetime_of_thousands_of_digits_is_none() -> None:
    assert lifetime("max-age=" + "9" * 5000) >= 0
