"""Wrong words on the command line: exit code 2, in the form of every other error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import pytest

from provisioner.cli.bake import bake
from provisioner.cli.commands import gpuenv
from provisioner.cli.store import store

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
        (("prepare", "--only", "--all"), "`--all`"),
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


def test_commands_that_are_loaded_when_they_are_called_are_suggested_and_listed(
    machine: Machine, tmp_path: Path
) -> None:
    suggested = machine.gpuenv(tmp_path, "stroe")
    assert (suggested.code, suggested.message.hint) == (2, "did you mean `store`?")
    listed = machine.gpuenv(tmp_path, "--help").out.partition("Commands:")[2]
    names = [line.split()[0] for line in listed.splitlines() if line.startswith("  ")]
    assert {"configure", "env", "serve", "store", *COMMANDS} <= set(names)


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


@pytest.mark.parametrize("name", ["run", "serve"])
def test_a_command_without_a_result_offers_no_json(name: str) -> None:
    with click.Context(gpuenv) as context:
        command = gpuenv.get_command(context, name)
        assert command is not None
        assert "--json" not in command.get_help(click.Context(command))


OF_STORES = {"--store", "--offline", "--json", "--verbose", "--quiet"}


@pytest.mark.parametrize("name", sorted(store.commands))
def test_the_help_of_a_store_command_has_only_what_means_something_to_it(name: str) -> None:
    further = {"export": {"--project", "--force"}, "policy": {"--project", "--profile"}}
    command = store.commands[name]
    lines = command.get_help(click.Context(command)).partition("Options:")[2].split()
    named = {word.rstrip(",") for word in lines if word.startswith("--")}
    others = {"--project", "--profile", "--force", "--target", "--gpu-policy", "--python"}
    assert OF_STORES | further.get(name, set()) <= named
    assert not (others - further.get(name, set())) & named


def test_options_that_mean_nothing_to_a_store_are_taken(machine: Machine, tmp_path: Path) -> None:
    words = ("--python", "3.12", "--gpu-policy", "any", "--target", "driver=none", "--force")
    assert machine.gpuenv(tmp_path, "store", "list", *words).code == 0


def test_the_help_of_export_says_what_force_replaces() -> None:
    command = store.commands["export"]
    text = " ".join(command.get_help(click.Context(command)).split())
    assert "--force Replace an existing FILE." in text
    assert "~/.local/share" in text


@pytest.mark.parametrize("group", [gpuenv, store, bake], ids=["gpuenv", "store", "bake"])
def test_help_has_a_whole_sentence_for_each_command(group: click.Group) -> None:
    with click.Context(group, terminal_width=80) as context:
        listed = group.get_help(context).partition("Commands:")[2]
        lines = [line for line in listed.splitlines() if line.strip()]
        assert len(lines) == len(group.list_commands(context))
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


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
