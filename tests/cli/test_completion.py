"""Shells that complete, by the scripts that `gpuenv completion` prints."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.projects import TARGET, Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.machine import Machine

_BASH = """
gpuenv() {{ {gpuenv} "$@"; }}
export -f gpuenv
source <(gpuenv completion bash)
COMP_WORDS=({words}) COMP_CWORD={at}
compopt() {{ :; }}
_gpuenv_completion gpuenv
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(machine: Machine, folder: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    program = machine.root / "bin" / "gpuenv"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -m provisioner "$@"\n')
    program.chmod(0o755)
    script = _BASH.format(
        gpuenv=program, words=" ".join(f'"{word}"' for word in words), at=len(words) - 1
    ).replace("_gpuenv_completion gpuenv", f"_gpuenv_completion {program}")
    done = machine.run(folder, "bash", "-c", script)
    assert done.code == 0, done.err
    assert done.err == ""
    return done.out.split()


def test_bash_completes_commands_and_their_options(machine: Machine, tmp_path: Path) -> None:
    assert completed(machine, tmp_path, "gpuenv", "ba") == ["bake"]
    assert completed(machine, tmp_path, "gpuenv", "bake", "") == ["dockerfile", "image"]
    assert completed(machine, tmp_path, "gpuenv", "prepare", "--fr") == ["--from"]


def test_bash_completes_profiles(warm: Machine, new_project: Callable[[Project], Path]) -> None:
    app = new_project(Project(name="completed"))
    assert completed(warm, app, "gpuenv", "switch", "") == []
    assert warm.gpuenv(app, "prepare", "--target", TARGET, "--no-proof").code == 0
    assert completed(warm, app, "gpuenv", "switch", "") == ["cpu", "cu12", "cu13"]
    assert completed(warm, app, "gpuenv", "switch", "cu") == ["cu12", "cu13"]
    known = completed(warm, app, "gpuenv", "prepare", "--profile", "cu12")
    assert known == ["cu12", "cu121", "cu124", "cu126", "cu128", "cu129"]


def test_a_damaged_state_completes_nothing_and_says_nothing(machine: Machine, app: Path) -> None:
    (app / ".gpuenv").mkdir()
    (app / ".gpuenv" / "state.json").write_text("{", encoding="utf-8")
    assert completed(machine, app, "gpuenv", "switch", "") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_scripts(machine: Machine, tmp_path: Path, shell: str) -> None:
    done = machine.gpuenv(tmp_path, "completion", shell)
    assert done.code == 0
    assert "_GPUENV_COMPLETE" in done.out
    if shutil.which(shell):
        (tmp_path / "script").write_text(done.out, encoding="utf-8")
        assert machine.run(tmp_path, shell, "-n", tmp_path / "script").code == 0


def test_another_shell_is_2(machine: Machine, tmp_path: Path) -> None:
    done = machine.gpuenv(tmp_path, "completion", "tcsh")
    assert done.code == 2
    assert "`tcsh`" in done.message.error
