"""Sizes and times as people write them."""

from __future__ import annotations

import pytest

from provisioner.core.limits import parse_age, parse_size
from provisioner.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1000", 1000),
        ("20GB", 20 * 10**9),
        ("20g", 20 * 10**9),
        ("1.5 kB", 1500),
        ("512MiB", 512 << 20),
        (" 2TiB ", 2 << 40),
        ("7B", 7),
    ],
)
def test_a_size_is_read_in_steps_of_1000_or_1024(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("30d", 2_592_000), ("12h", 43_200), ("90m", 5400), ("2w", 1_209_600)]
)
def test_an_age_is_read_in_seconds(text: str, expected: float) -> None:
    assert parse_age(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 X", "1e3", "ten", "1GB2"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)

    assert caught.value.message == f"`{text}` is no size"
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1y", "1d2h"])
def test_what_is_no_age_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_age(text)

    assert caught.value.message == f"`{text}` is no length of time"
    assert caught.value.hint
