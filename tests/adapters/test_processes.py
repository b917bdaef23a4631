"""Which environments running processes use, by real processes and by files like `/proc`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
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
NOBODY = 65534


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


SCRIPT = "#!{python}\n" + WAIT


@pytest.mark.parametrize("way", ["real path", "link", "console script", "-I", "-E -B", "forked"])
def test_however_a_python_of_an_environment_is_started_it_holds_it(
    environment: Path, tmp_path: Path, way: str
) -> None:
    link = tmp_path / ".venv"
    link.symlink_to(environment)
    python = link / "bin" / "python"
    words: dict[str, tuple[str | Path, ...]] = {
        "real path": (environment / "bin" / "python", "-c", WAIT),
        "link": (python, "-c", WAIT),
        "console script": (link / "bin" / "tool",),
        "-I": (python, "-I", "-c", WAIT),
        "-E -B": (python, "-E", "-B", "-c", WAIT),
        # The first process ends, and its child, which runs on, has only what it inherited.
        "forked": (python, "-c", f"import os; os.fork() and os._exit(0); {WAIT}"),
    }
    script = environment / "bin" / "tool"
    script.write_text(SCRIPT.format(python=python), encoding="utf-8")
    script.chmod(0o755)

    with running(*words[way]):
        assert environments_in_use(environment.parent, tmp_path / "no-proc") == {"demo"}
    for _ in range(100):  # A child may end a moment after its input has.
        if not (left := environments_in_use(environment.parent, tmp_path / "no-proc")):
            break
        time.sleep(0.02)
    assert left == frozenset()


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's `/proc`")
@pytest.mark.parametrize("way", ["open", "mapped", "folder", "-S"])
def test_a_program_that_only_has_something_of_an_environment_open_uses_it(
    environment: Path, way: str
) -> None:
    (library,) = environment.glob("lib/python*/site-packages/_gpuenv.py")
    opening = {
        "open": "kept = open(path); ",
        "mapped": "import mmap; f = open(path); m = mmap.mmap(f.fileno(), 0, prot=1); f.close(); ",
        "folder": "import os; os.chdir(os.path.dirname(path)); ",
        "-S": "",
    }
    # What is opened is told by input, and neither by an argument nor by a variable.
    code = f"import sys; path = sys.stdin.readline().strip(); {opening[way]}{WAIT}"
    words = [sys.executable, "-I", "-c", code]
    if way == "-S":
        words = [str(environment / "bin" / "python"), "-S", "-c", code]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{library}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "runs\n"
        assert environments_in_use(environment.parent, PROC) == {"demo"}
        process.stdin.close()
    assert environments_in_use(environment.parent, PROC) == frozenset()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of other users")
def test_the_python_of_another_user_holds_its_environment_though_it_tells_nothing() -> None:
    # The Python that runs the tests may be for this user alone.
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("there is no Python for all users")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        environment = real_environment(Path(name, "envs", "demo"), python)
        finish(environment, {})
        with subprocess.Popen(
            [environment / "bin" / "python", "-c", WAIT],
            user=NOBODY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            assert environments_in_use(environment.parent, Path(name, "no-proc")) == {"demo"}
            process.communicate()


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
