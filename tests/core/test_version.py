"""Versions of drivers, CUDA and GPUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.version import ComputeCapability, DottedVersion, is_before, is_version

PARTS = st.lists(st.integers(0, 999_999_999), min_size=1, max_size=6)


def dotted(parts: list[int]) -> DottedVersion:
    return DottedVersion.parse(".".join(map(str, parts)))


@given(PARTS)
def test_a_version_is_shown_as_it_was_written(parts: list[int]) -> None:
    text = ".".join(map(str, parts))
    assert str(DottedVersion.parse(text)) == text


def test_a_leading_zero_is_shown_and_does_not_count() -> None:
    assert str(DottedVersion.parse("570.124.06")) == "570.124.06"
    assert DottedVersion.parse("570.124.06") == DottedVersion.parse("570.124.6")


@given(PARTS, PARTS)
def test_versions_compare_number_by_number_with_missing_parts_as_zero(
    left: list[int], right: list[int]
) -> None:
    width = max(len(left), len(right))
    padded_left = left + [0] * (width - len(left))
    padded_right = right + [0] * (width - len(right))
    assert (dotted(left) < dotted(right)) == (padded_left < padded_right)
    assert (dotted(left) == dotted(right)) == (padded_left == padded_right)


@given(PARTS, st.integers(0, 5))
def test_equal_versions_are_one_key_of_a_set(parts: list[int], zeros: int) -> None:
    longer = [*parts, *[0] * zeros][:6]
    assert {dotted(parts), dotted(longer)} == {dotted(parts)}


def test_numbers_do_not_compare_as_text() -> None:
    assert DottedVersion.parse("12.9") < DottedVersion.parse("12.10")
    assert DottedVersion.parse("470.82.01") < DottedVersion.parse("1000")


@pytest.mark.parametrize(
    "text",
    ["", " ", "12.", ".8", "12..8", "12.8 ", "12.8\n", "v12", "12.x", "-1", "1.2.3.4.5.6.7", "١٢"],
)
def test_anything_but_digits_and_dots_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version of digits and dots"):
        DottedVersion.parse(text)


def test_a_number_without_a_dot_names_a_line() -> None:
    assert DottedVersion.parse("12").is_line
    assert not DottedVersion.parse("12.0").is_line
    assert DottedVersion.parse("12.8").major == 12


@pytest.mark.parametrize(
    ("named", "inside"),
    [
        ("12", ("12", "12.0", "12.8", "12.8.1")),
        ("12.8", ("12.8", "12.8.0", "12.8.1")),
        ("12.0", ("12", "12.0", "12.0.1")),
    ],
)
def test_a_line_covers_every_version_below_its_name(named: str, inside: tuple[str, ...]) -> None:
    for text in inside:
        assert DottedVersion.parse(named).covers(DottedVersion.parse(text)), text


@pytest.mark.parametrize(
    ("named", "outside"),
    [("12", ("13.0", "1.2", "120")), ("12.8", ("12", "12.80", "12.9")), ("12.0", ("12.1", "13"))],
)
def test_a_line_covers_nothing_else(named: str, outside: tuple[str, ...]) -> None:
    for text in outside:
        assert not DottedVersion.parse(named).covers(DottedVersion.parse(text)), text


@given(st.integers(0, 999), st.integers(0, 99))
def test_a_compute_capability_is_read_as_it_is_shown(major: int, minor: int) -> None:
    capability = ComputeCapability(major, minor)
    assert ComputeCapability.parse(str(capability)) == capability


def test_compute_capabilities_order_by_major_then_minor() -> None:
    texts = ["12.0", "7.5", "10.3", "9.0", "7.0", "10.0"]
    assert [str(item) for item in sorted(map(ComputeCapability.parse, texts))] == [
        "7.0",
        "7.5",
        "9.0",
        "10.0",
        "10.3",
        "12.0",
    ]


@pytest.mark.parametrize(
    "text", ["", "9", "90", "9.", ".0", "9.0a", "sm_90", "9.0.0", "9,0", "[N/A]"]
)
def test_anything_but_major_and_minor_is_no_compute_capability(text: str) -> None:
    with pytest.raises(ValueError, match="is not a compute capability"):
        ComputeCapability.parse(text)


@pytest.mark.parametrize("text", ["12", "12.8", "570.124.06", "1.2.3.4.5.6", "0"])
def test_digits_and_dots_are_a_version(text: str) -> None:
    assert is_version(text)


@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{0,12}", fullmatch=True))
def test_what_is_called_a_version_is_what_can_be_read_as_one(text: str) -> None:
    if is_version(text):
        assert str(DottedVersion.parse(text)) == text
        return
    with pytest.raises(ValueError, match="is not a version"):
        DottedVersion.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.6.14", True),
        ("0.6.15", False),
        ("0.6.15-alpha.1", False),
        ("0.6.14+3 (abc)", True),
        ("0.10.0", False),
        ("unknown", False),
    ],
)
def test_only_what_is_known_to_be_older_is_before(text: str, *, expected: bool) -> None:
    assert is_before(text, "0.6.15") is expected
