"""File names belong to the index that they are from."""

from __future__ import annotations

import pytest

from provisioner.core.digest import Digest
from provisioner.core.first_seen import (
    FirstSeen,
    first_seen_from_json,
    index_of,
    index_of_page,
)
from provisioner.core.plan import LockedFile

DIGEST = Digest.parse("ab" * 32)


def file(url: str, index: str | None = None) -> LockedFile:
    """A file at a URL."""
    return LockedFile(name="shown", url=url, digest=DIGEST, size=None, index=index)


@pytest.mark.parametrize("index", ["https://pypi.org/simple", "https://me:secret@pypi.org/simple/"])
def test_the_index_of_a_file_is_the_one_that_is_named_without_secrets(index: str) -> None:
    assert index_of(file("https://files.test/ab/demo.whl", index)) == "https://pypi.org/simple"


@pytest.mark.parametrize(
    "url",
    ["https://me:secret@host.test/demo/a%2Bb.whl", "https://host.test/demo/a%2Bb.whl?x=/y#sha256="],
)
def test_without_an_index_the_folder_of_the_url_takes_its_place(url: str) -> None:
    assert index_of(file(url)) == "https://host.test/demo"


@pytest.mark.parametrize(
    "url", ["https://pypi.org/simple/torch/", "https://pypi.org/simple/torch?format=json"]
)
def test_a_page_and_a_lock_name_the_same_index(url: str) -> None:
    assert index_of_page(url) == index_of(file("https://x.test/a.whl", "https://pypi.org/simple/"))


def test_it_comes_back_as_it_was_written() -> None:
    seen = FirstSeen(index="https://a.test", name="a.whl", digest=DIGEST, url="u", seen=1.5)

    assert first_seen_from_json(seen.to_json()) == seen
