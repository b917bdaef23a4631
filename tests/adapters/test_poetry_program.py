"""poetry as it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.poetry_program import alone_in, find_poetry, sync
from provisioner.errors import ToolError
from tests.simulators.poetry import write_poetry

if TYPE_CHECKING:
    from pathlib import Path


def script(path: Path, *lines: str) -> str:
    """A program of a few lines of shell."""
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("says", "version"),
    [("Poetry (version 2.5.1)", "2.5.1"), ("Poetry version 1.1.15", "1.1.15")],
)
def test_its_version_is_what_it_says(says: str, version: str, tmp_path: Path) -> None:
    program = script(tmp_path / "poetry", f'echo "{says}"')
    assert find_poetry({"PATH": str(tmp_path)}) == (program, version)


def test_one_that_does_not_run_is_none(tmp_path: Path) -> None:
    assert find_poetry({"PATH": str(tmp_path)}) is None
    script(tmp_path / "poetry", "exit 1")
    assert find_poetry({"PATH": str(tmp_path)}) is None


def test_no_setting_of_the_user_leads_it_out_of_its_folder(tmp_path: Path) -> None:
    own = {"PATH": "/bin", "POETRY_VIRTUALENVS_CREATE": "false", "POETRY_CACHE_DIR": "/cache"}
    found = alone_in(tmp_path, own)
    assert found["PATH"] == "/bin"
    assert found["POETRY_VIRTUALENVS_CREATE"] == "true"
    assert found["POETRY_CACHE_DIR"] == str(tmp_path / "cache")


@pytest.mark.parametrize(
    ("version", "verb"), [("2.5.1", "sync"), ("2.0.0", "sync"), ("1.8.5", "install --sync")]
)
def test_what_is_not_needed_goes_in_every_version(version: str, verb: str, tmp_path: Path) -> None:
    program = write_poetry(tmp_path, version)
    (tmp_path / ".venv" / "lib" / "python3" / "site-packages").mkdir(parents=True)
    (tmp_path / "poetry.lock").write_text("[extras]\ncu12 = []\n")
    sync(
        str(program),
        version,
        tmp_path,
        {},
        extras=("cu12",),
        groups=("gpu",),
        without=("dev",),
    )
    (words,) = (tmp_path / "poetry.log").read_text().splitlines()
    assert words.startswith(f"{verb} --no-root ")
    assert words.endswith("--extras cu12 --with gpu --without dev")


@pytest.mark.parametrize(
    ("lines", "causes"),
    [
        (("echo '  - Installing a'", "echo '    | no a'", "echo '    | try b'"), ("no a",)),
        (("echo Installing", "echo 'the lock is old' >&2"), ("the lock is old",)),
        (("echo 'no such option'",), ("no such option",)),
        ((), ()),
    ],
)
def test_its_failure_is_told_in_its_words_without_its_advice(
    lines: tuple[str, ...], causes: tuple[str, ...], tmp_path: Path
) -> None:
    program = script(tmp_path / "poetry", *lines, "exit 1")
    with pytest.raises(ToolError) as caught:
        sync(program, "2.5.1", tmp_path, {}, extras=(), groups=(), without=())
    assert caught.value.causes == causes
