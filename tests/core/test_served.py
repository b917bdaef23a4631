"""The URLs below which there is something."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.digest import Digest
from provisioner.core.served import (
    File,
    Moved,
    Project,
    Root,
    file_url,
    may_be_served,
    place_of,
)
from provisioner.core.simple_index import ListedFile

HASH = Digest("ab" * 32)


def test_the_root_and_projects_have_their_pages() -> None:
    assert place_of("/simple/") == Root()
    assert place_of("/simple/demo-a/") == Project(name="demo-a")


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/simple", "/simple/"),
        ("/simple/demo", "/simple/demo/"),
        ("/simple/De_mo..A/", "/simple/de-mo-a/"),
        ("/simple/%64emo", "/simple/demo/"),
    ],
)
def test_another_spelling_leads_to_the_right_one(path: str, right: str) -> None:
    assert place_of(path) == Moved(path=right)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "simple/demo/",
        "//simple/",
        "/simple//",
        "/simple/../files/",
        "/simple/..%2f..%2fetc%2fpasswd",
        "/simple/demo/x.whl",
        "/simple/-demo/",
        "/files/demo/x.whl",
        f"/files/demo/{HASH}/",
        f"/files/demo/{HASH}/..",
        f"/files/demo/{HASH}/a%2fb.whl",
        f"/files/demo/{HASH}/a%5cb.whl",
        f"/files/demo/{HASH}/a%00.whl",
        f"/files/../{HASH}/x.whl",
        f"/files/Demo/{HASH}/x.whl",
        f"/files/demo/{HASH}/x/y.whl",
        "/files/demo/ab/x.whl",
        "/files/demo/../x.whl",
        "http://evil.test/simple/demo/",
        "/VERSION",
    ],
)
def test_everything_else_is_not_there(path: str) -> None:
    assert place_of(path) is None


@pytest.mark.parametrize("digest", [HASH, None])
@pytest.mark.parametrize("name", ["demo-1.0+cu12-py3-none-any.whl", "demo 1.0#?%41.tar.gz"])
def test_the_url_of_a_file_leads_back_to_it(name: str, digest: Digest | None) -> None:
    listed = ListedFile(name=name, url="https://index.test/x", digest=digest)
    url = urljoin("http://localhost:1/simple/demo/", file_url("demo", listed))
    asked = File(project="demo", digest=digest, name=name, is_metadata=False)
    assert place_of(urlsplit(url).path) == asked
    metadata = place_of(f"{urlsplit(url).path}.metadata")
    assert metadata == File(project="demo", digest=digest, name=name, is_metadata=True)


@given(st.text())
def test_no_path_is_an_error(path: str) -> None:
    place_of(path)
    place_of(f"/files/{path}")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b.whl", "a\\b.whl", "a\n.whl", "x.metadata"])
def test_a_file_name_that_leads_astray_is_left_out(name: str) -> None:
    assert not may_be_served(name)
