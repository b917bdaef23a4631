"""What an answer to a request for a file, or a part of it, is taken for."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.answers import (
    Meaning,
    Misfit,
    Part,
    Refusal,
    Whole,
    meaning,
    pause_wished,
    strong_validator,
)
from provisioner.core.ranges import Span

ASKED = Span(100, 200)
TAG = {"etag": '"a"'}


def part(said: str, **headers: str) -> Meaning:
    """An answer of 206 to bytes 100 to 199 of 1000, of a version with the ETag "a"."""
    found = {"content-range": said, **TAG, **headers}
    return meaning(206, found, ASKED, size=1000, validator='"a"')


def test_a_part_that_is_as_asked_for_is_taken() -> None:
    assert part("bytes 100-199/1000") == Part(span=ASKED, size=1000, validator='"a"')


def test_fewer_bytes_are_taken_for_fewer_and_more_for_what_was_asked() -> None:
    assert part("bytes 100-149/1000") == Part(span=Span(100, 150), size=1000, validator='"a"')
    assert part("bytes 100-999/1000") == Part(span=ASKED, size=1000, validator='"a"')


@pytest.mark.parametrize(
    "said",
    [
        "",
        "bytes 101-199/1000",
        "bytes 99-199/1000",
        "bytes 100-199/1001",
        "bytes 100-199/*",
        "bytes 100-99/1000",
        "bytes 100-1000/1000",
        "bytes */1000",
        "lines 100-199/1000",
        "bytes 100-199/1000, 300-399/1000",
    ],
)
def test_a_part_that_says_anything_else_does_not_fit(said: str) -> None:
    assert isinstance(part(said), Misfit)


@given(st.text())
def test_whatever_a_server_says_of_a_part_it_is_within_what_was_asked_for(said: str) -> None:
    found = part(said)
    assert isinstance(found, Misfit) or (
        isinstance(found, Part) and found.span.start == 100 and found.span.stop <= 200
    )


def test_a_part_of_another_version_or_in_an_encoding_does_not_fit() -> None:
    assert isinstance(part("bytes 100-199/1000", etag='"b"'), Misfit)
    assert isinstance(part("bytes 100-199/1000", **{"content-encoding": "gzip"}), Misfit)


def test_a_part_that_names_no_version_is_the_one_that_was_asked_for() -> None:
    assert isinstance(part("bytes 100-199/1000", etag=""), Part)


def test_the_whole_file_has_its_length_unless_it_is_encoded() -> None:
    plain = {**TAG, "content-length": "1000"}
    assert meaning(200, plain, None) == Whole(size=1000, validator='"a"', encoded=False)
    encoded = {**plain, "content-encoding": "gzip"}
    assert meaning(200, encoded, ASKED) == Whole(size=None, validator=None, encoded=True)
    assert meaning(200, TAG, None) == Whole(size=None, validator='"a"', encoded=False)


def test_a_part_that_nobody_asked_for_does_not_fit() -> None:
    assert isinstance(meaning(206, {"content-range": "bytes 0-9/10"}, None), Misfit)
    assert isinstance(meaning(416, {}, ASKED), Misfit)


@pytest.mark.parametrize("status", [204, 304, 403, 404, 429, 500, 503])
def test_every_other_status_is_a_refusal(status: int) -> None:
    assert meaning(status, TAG, ASKED) == Refusal(status=status)


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": '"a"'}, '"a"'),
        ({"etag": 'W/"a"'}, None),
        ({}, None),
        ({"last-modified": formatdate(1000, usegmt=True)}, None),
        ({"last-modified": "yesterday", "date": formatdate(5000, usegmt=True)}, None),
    ],
)
def test_only_what_tells_every_byte_apart_is_a_validator(
    headers: dict[str, str], validator: str | None
) -> None:
    assert strong_validator(headers) == validator


@pytest.mark.parametrize(("age", "strong"), [(0, False), (59, False), (60, True), (1e6, True)])
def test_a_date_is_one_if_it_is_old_enough(age: float, *, strong: bool) -> None:
    modified = formatdate(2e9, usegmt=True)
    headers = {"last-modified": modified, "date": formatdate(2e9 + age, usegmt=True)}
    assert strong_validator(headers) == (modified if strong else None)
    assert strong_validator({**headers, "etag": 'W/"a"'}) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (formatdate(1030, usegmt=True), 30.0),
        (formatdate(900, usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_a_pause_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    assert pause_wished({"retry-after": value}, 1000.0) == seconds


@given(st.text())
def test_whatever_stands_there_a_pause_is_no_error(value: str) -> None:
    wished = pause_wished({"retry-after": value}, 1000.0)
    assert wished is None or wished >= 0
