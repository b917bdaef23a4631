"""Which request names a CPython without asking uv."""

from __future__ import annotations

import pytest

from provisioner.core.interpreter import Interpreter, named_version


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ("3.12", Interpreter(version="3.12")),
        ("3.12.4", Interpreter(version="3.12.4")),
        ("3.13t", Interpreter(version="3.13", free_threaded=True)),
        ("3.13.1t", Interpreter(version="3.13.1", free_threaded=True)),
    ],
)
def test_a_version_names_the_cpython_of_that_version(request_: str, named: Interpreter) -> None:
    assert named_version(request_) == named


@pytest.mark.parametrize(
    "request_",
    [
        None,
        "",
        "3",
        "3.",
        "2.7",
        ">=3.12",
        "3.12-dev",
        "3.12\n",
        " 3.12",
        "python3.12",
        "cpython-3.12",
        "pypy@3.11",
        "/usr/bin/python3",
        "/opt/3.12",
    ],
)
def test_any_other_request_is_left_to_uv(request_: str | None) -> None:
    assert named_version(request_) is None


def test_only_major_and_minor_count_for_tags() -> None:
    named = named_version("3.13.1t")
    assert named is not None
    assert named.minor == (3, 13)
