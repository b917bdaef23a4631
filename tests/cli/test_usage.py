"""Wrong words on the command line: exit code 2, in the form of every other error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.machine import Machine

COMMANDS = (
    "detect",
    "lock",
    "prepare",
    "profiles",
    "rollback",
    "run",
    "select",
    "status",
    "switch",
)


@pytest.mark.parametrize(
    ("words", "literal"),
    [
        (("frobnicate",), "`frobnicate`"),
        (("prepare", "--frobnicate"), "`--frobnicate`"),
        (("prepare", "--forc"), "`--forc`"),
        (("prepare", "unexpected"), "`unexpected`"),
        (("prepare", "--target"), "`--target`"),
        (("switch",), "`PROFILE`"),
        (("rollback", "many"), "`many`"),
        (("run",), "`COMMAND"),
    ],
)
def test_a_usage_error_is_2_and_puts_what_is_wrong_in_backticks(
    machine: Machine, tmp_path: Path, words: tuple[str, ...], literal: str
) -> None:
    done = machine.gpuenv(tmp_path, *words)
    assert (done.code, done.out) == (2, "")
    assert literal in done.message.error
    assert "'" not in done.message.error
    # A suggestion is a hint, and no second sentence.
    assert ". " not in done.message.error


def test_a_project_that_is_no_folder_is_2(machine: Machine, tmp_path: Path) -> None:
    done = machine.gpuenv(tmp_path, "prepare", "--project", "nowhere")
    assert done.code == 2
    assert done.message.error == f"`{tmp_path / 'nowhere'}` is not a folder"


def test_no_words_at_all_show_the_help(machine: Machine, tmp_path: Path) -> None:
    done = machine.gpuenv(tmp_path)
    assert done.code == 2
    assert (done.out + done.err).startswith("Usage: gpuenv")
    assert "error: " not in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_the_common_options(
    machine: Machine, tmp_path: Path, command: str
) -> None:
    done = machine.gpuenv(tmp_path, command, "--help")
    assert (done.code, done.err) == (0, "")
    for option in ("--project", "--store", "--profile", "--target", "--python", "--offline"):
        assert option in done.out


def test_the_help_names_every_command(machine: Machine, tmp_path: Path) -> None:
    done = machine.gpuenv(tmp_path, "--help")
    listed = done.out.split("Commands:")[1].split()
    assert set(COMMANDS) <= set(listed)


def test_quiet_says_nothing_where_nothing_is_wrong(machine: Machine, tmp_path: Path) -> None:
    done = machine.gpuenv(tmp_path, "select", "--quiet", "--target", "driver=none,gpus=")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_reader_that_has_gone_is_no_crash(machine: Machine, tmp_path: Path) -> None:
    script = '"$0" -I -m provisioner profiles --target driver=none --json | true'
    done = machine.run(tmp_path, "sh", "-c", script, sys.executable)
    assert (done.code, done.err) == (0, "")
