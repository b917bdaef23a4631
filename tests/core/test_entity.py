"""What a client gets of a file that has a hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.entity import Head, file_head, is_named

TAG = "ab" * 32


def head(size: int = 100, method: str = "GET", **asked: str) -> Head:
    headers = {name.replace("_", "-"): value for name, value in asked.items()}
    return file_head(method, headers, tag=TAG, size=size, cache_control="no-cache")


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_range_within_a_file_is_sent_as_far_as_the_file_goes(
    size: int, first: int, more: int
) -> None:
    found = head(size, range=f"bytes={first}-{first + more}")
    if first >= size:
        assert (found.status, found.count) == (416, 0)
        return
    assert (found.status, found.first) == (206, first)
    assert found.count == min(more + 1, size - first)
    assert found.headers["Content-Range"] == f"bytes {first}-{first + found.count - 1}/{size}"


@given(st.integers(0, 10_000), st.text())
def test_whatever_is_asked_no_byte_beyond_the_file_is_sent(size: int, wanted: str) -> None:
    found = head(size, range=wanted)
    assert found.status in {200, 206, 416}
    assert 0 <= found.first <= found.first + found.count <= size


def test_a_head_announces_the_length_and_sends_nothing() -> None:
    found = head(method="HEAD")
    assert (found.status, found.count, found.headers["Content-Length"]) == (200, 0, "100")


def test_a_download_that_broke_off_goes_on_only_with_the_same_bytes() -> None:
    assert head(range="bytes=5-", if_range=f'"{TAG}"').first == 5
    assert head(range="bytes=5-", if_range='"other"').status == 200


@pytest.mark.parametrize("named", ['"x"', 'W/"x"', '"y", "x"', "*"])
def test_a_tag_is_found_however_it_is_listed(named: str) -> None:
    assert is_named('"x"', named)


@pytest.mark.parametrize("named", [None, "", '"y"', "x", '"xx"'])
def test_another_tag_is_not_taken_for_it(named: str | None) -> None:
    assert not is_named('"x"', named)


@pytest.mark.parametrize("wanted", ["bytes={}-", "bytes=-{}", "bytes=0-{}"])
def test_a_range_of_thousands_of_digits_is_ignored(wanted: str) -> None:
    assert head(range=wanted.format("9" * 5000)).status == 200
