"""Which environments running processes use, by real processes and by files like `/proc`."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.environment import finish
from provisioner.adapters.processes import environments_in_use
from tests.adapters.test_environment import real_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")
WAIT = "import sys; print('runs', flush=True); sys.stdin.read()"


@contextmanager
def running(*words: str | Path, **variables: str) -> Iterator[None]:
    """A process that runs until the block ends."""
    with subprocess.Popen(
        [*map(str, words)],
        env={"PATH": os.defpath, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        yield


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A finished environment."""
    path = real_environment(tmp_path / "store" / "envs" / "demo")
    finish(path, {})
    return path


def test_a_python_started_through_the_link_holds_its_environment_alone(
    environment: Path, tmp_path: Path
) -> None:
    other = real_environment(environment.with_name("other"))
    finish(other, {})
    link = tmp_path / "project" / ".venv"
    link.parent.mkdir()
    link.symlink_to(environment)
    nothing = tmp_path / "no-proc"

    with running(link / "bin" / "python", "-c", WAIT):
        link.unlink()
        link.symlink_to(other)
        assert environments_in_use(environment.parent, nothing) == {"demo"}
    assert environments_in_use(environment.parent, nothing) == frozenset()


def test_a_child_that_does_not_share_the_environment_does_not_hold_it(
    environment: Path, tmp_path: Path
) -> None:
    start = (
        "import subprocess, sys; p = subprocess.Popen([sys.argv[1], '-c', sys.argv[2]], "
        "stdin=subprocess.PIPE, env={}); print(flush=True)"
    )
    done = subprocess.run(
        [environment / "bin" / "python", "-c", start, sys.executable, "pass"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert environments_in_use(environment.parent, tmp_path) == frozenset()


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's `/proc`")
def test_a_program_that_was_told_of_an_environment_uses_it(tmp_path: Path) -> None:
    environments = tmp_path / "envs"
    (environments / "demo").mkdir(parents=True)
    words = (sys.executable, "-c", WAIT)

    with running(*words, VIRTUAL_ENV=str(environments / "demo")):
        assert environments_in_use(environments, PROC) == {"demo"}
    with running(*words, str(environments / "demo" / "bin" / "tool")):
        assert environments_in_use(environments, PROC) == {"demo"}
    assert environments_in_use(environments, PROC) == frozenset()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("maps", "7f00-7f01 r-xp 00000000 08:01 12 {envs}/demo/lib/x.so\n7f02 [heap]\n"),
        ("environ", "A=b\0PATH={envs}/demo/bin:/bin\0"),
        ("cmdline", "{envs}/demo/bin/python\0-m\0x\0"),
    ],
)
def test_whatever_a_process_tells_of_an_environment_counts(
    tmp_path: Path, name: str, text: str
) -> None:
    environments = tmp_path / "envs"
    environments.mkdir()
    process = tmp_path / "proc" / "4711"
    process.mkdir(parents=True)
    (process / name).write_text(text.format(envs=environments), encoding="utf-8")
    (tmp_path / "proc" / "self").mkdir()

    assert environments_in_use(environments, tmp_path / "proc") == {"demo"}


def test_a_link_of_a_process_into_an_environment_counts(tmp_path: Path) -> None:
    environments = tmp_path / "envs"
    environments.mkdir()
    (tmp_path / "store-link").symlink_to(tmp_path)
    process = tmp_path / "proc" / "4711"
    process.mkdir(parents=True)
    (process / "cwd").symlink_to(environments / "one" / "lib")
    (process / "exe").symlink_to(tmp_path / "envs-of-others" / "two")

    named = tmp_path / "store-link" / "envs"
    assert environments_in_use(named, tmp_path / "proc") == {"one"}
