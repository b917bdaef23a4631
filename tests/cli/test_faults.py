"""A fault of gpuenv itself: an error like any other, and a file with the details."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.runner import run

if TYPE_CHECKING:
    import pytest


@click.command()
def broken() -> None:
    """Fail as nothing should."""
    message = "unforeseen"
    raise ZeroDivisionError(message)


def test_a_fault_is_an_error_with_a_file_that_has_the_details(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run([], broken) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert "error: gpuenv has failed in a way that it should not\n" in said.err
    assert "  cause: ZeroDivisionError: unforeseen\n" in said.err
    (name,) = re.findall(r"hint: `([^`]+)` has the details", said.err)
    log = Path(name)
    try:
        text = log.read_text(encoding="utf-8")
        assert "Traceback (most recent call last)" in text
        assert "ZeroDivisionError: unforeseen" in text
        assert log.stat().st_mode & 0o077 == 0
    finally:
        log.unlink()


def test_a_fault_is_json_where_that_was_asked_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    @click.pass_context
    def worse(context: click.Context) -> None:
        context.obj.command, context.obj.as_json = "worse", True
        raise KeyError("x")  # noqa: EM101 - as Python itself raises it

    assert run([], worse) == 1
    data = json.loads(capfd.readouterr().out)
    assert data["status"] == "error"
    (error,) = data["errors"]
    assert error["code"] == "fault"
    Path(re.findall(r"`([^`]+)`", error["hint"])[0]).unlink()
