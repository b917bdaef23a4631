"""The hash that names a blob."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.digest import Digest

REAL = hashlib.sha256(b"wheel").hexdigest()


@given(st.binary())
def test_every_sha256_is_a_digest_and_shown_as_its_digits(content: bytes) -> None:
    digits = hashlib.sha256(content).hexdigest()
    assert str(Digest.parse(digits)) == digits


def test_upper_and_lower_case_are_one_digest() -> None:
    assert Digest.parse(REAL.upper()) == Digest.parse(REAL)
    assert Digest.parse(REAL.upper()).hex == REAL


@pytest.mark.parametrize(
    "text",
    [
        "",
        REAL[:-1],
        f"{REAL}0",
        f"{REAL}\n",
        f" {REAL}",
        f"sha256:{REAL}",
        f"g{REAL[1:]}",
        f"../{REAL[3:]}",
        f"{REAL[:62]}\u0661\u0662",
        hashlib.md5(b"wheel", usedforsecurity=False).hexdigest(),
    ],
)
def test_nothing_else_becomes_the_name_of_a_blob(text: str) -> None:
    with pytest.raises(ValueError, match="is not a SHA-256"):
        Digest.parse(text)
