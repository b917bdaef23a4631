"""Every error that a user can meet, and the exit code that scripts rely on."""

from __future__ import annotations

import inspect
import re

import pytest

from provisioner import errors
from provisioner.errors import (
    GpuenvError,
    IntegrityError,
    LockError,
    LockHeldError,
    NetworkError,
    NotPreparedError,
    PolicyError,
    ProfileError,
    SelectionError,
    SpaceError,
    TargetError,
    ToolError,
    UsageError,
)

_ROW = re.compile(r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>\w+Error) +(?P<exit_code>\d+)  +\S")

PROMISED = {
    GpuenvError: 1,
    LockError: 1,
    NotPreparedError: 1,
    ToolError: 1,
    UsageError: 2,
    ProfileError: 2,
    TargetError: 2,
    NetworkError: 3,
    IntegrityError: 4,
    SpaceError: 5,
    LockHeldError: 6,
    SelectionError: 7,
    PolicyError: 8,
}


def drawn() -> list[tuple[str, str, int]]:
    """The tree of the docstring: class, parent and exit code."""
    rows = [
        found
        for line in (errors.__doc__ or "").splitlines()
        if (found := _ROW.match(line)) is not None
    ]
    above: dict[int, str] = {-1: "Exception"}
    tree = []
    for row in rows:
        depth = len(row["branch"]) // 4
        above[depth] = row["name"]
        tree.append((row["name"], above[depth - 1], int(row["exit_code"])))
    return tree


def written() -> list[tuple[str, str, int]]:
    """The same of the classes themselves."""
    return [
        (name, error.__bases__[0].__name__, error.exit_code)
        for name, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, GpuenvError)
    ]


def test_the_tree_that_is_drawn_is_the_tree_that_is_written() -> None:
    assert sorted(drawn()) == sorted(written())


def test_every_class_is_promised_an_exit_code() -> None:
    assert {error.__name__ for error in PROMISED} == {name for name, _, _ in written()}


@pytest.mark.parametrize(("error", "exit_code"), PROMISED.items())
def test_an_error_has_the_exit_code_that_was_promised(
    error: type[GpuenvError], exit_code: int
) -> None:
    assert error("x").exit_code == exit_code


def test_a_code_tells_the_errors_apart() -> None:
    codes = [error.code for error in PROMISED]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_an_error_carries_what_the_envelope_shows() -> None:
    error = NetworkError(
        "cannot reach `pypi.org`",
        causes=("no route", "no proxy"),
        hint="`--offline` uses what is there",
        code="unreachable",
        data={"profile": None},
    )
    assert str(error) == error.message == "cannot reach `pypi.org`"
    assert error.causes == ("no route", "no proxy")
    assert error.hint == "`--offline` uses what is there"
    assert error.code == "unreachable"
    assert error.data == {"profile": None}


def test_a_code_of_one_error_is_not_that_of_its_class() -> None:
    assert LockError("x", code="lock-stale").code == "lock-stale"
    assert LockError("x").code == "lock-invalid"


def test_an_error_says_no_more_than_it_was_told() -> None:
    error = GpuenvError("x")
    assert (error.causes, error.hint, error.data) == ((), None, None)


@pytest.mark.parametrize(
    ("causes", "line"),
    [((), "it failed"), (("one",), "it failed: one"), (("one", "two"), "it failed: one; two")],
)
def test_an_error_is_told_in_one_line(causes: tuple[str, ...], line: str) -> None:
    assert GpuenvError("it failed", causes=causes).line == line
