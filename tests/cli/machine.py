"""A user's machine in a folder: an empty home, a store, a uv, and commands to run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.simulators.environment import clean_environment, uv_binary

Given = Mapping[str, str]
"""Variables that a command is given on top of the machine's own."""
NOTHING: Given = MappingProxyType({})

TIMEOUT_SECONDS = 300

GPUENV = (sys.executable, "-I", "-m", "provisioner")
"""The command line as a child process, whatever lies in its folder or in Python's variables."""

_LOOPBACK_ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: up
os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Message:
    """An error as it was said: what failed, all causes, and the hint, if there is one."""

    error: str
    causes: tuple[str, ...]
    hint: str | None


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """What `--json` printed."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed

    @property
    def data(self) -> dict[str, Any]:
        """The `data` of a command that did not fail."""
        assert self.code == 0, self.err
        found: dict[str, Any] = self.envelope["data"]
        return found

    @property
    def message(self) -> Message:
        """The error at the end of stderr, which has to have the form that the design promises."""
        lines = self.err.splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        assert len(starts) == 1, self.err
        error, *rest = lines[starts[0] :]
        causes = []
        while rest and rest[0].startswith("  "):
            line = rest.pop(0)
            if line.startswith("  cause: "):
                causes.append(line.removeprefix("  cause: "))
            else:
                causes[-1] += f"\n{line}"  # An excerpt of a file, below its cause.
        hint = None
        if rest:
            blank, said, *more = rest
            assert (blank, more) == ("", []), self.err
            assert said.startswith("hint: "), self.err
            hint = said.removeprefix("hint: ")
        error = error.removeprefix("error: ")
        assert not error.endswith("."), error
        assert not error[0].isupper(), error
        return Message(error, tuple(causes), hint)


@dataclass(frozen=True)
class Snapshot:
    """What a failure has to leave as it was."""

    blobs: frozenset[str]
    environments: frozenset[str]
    link: str | None
    state: str | None
    names: frozenset[str]


class Machine:
    """Folders and variables of a user who has never run anything."""

    def __init__(self, root: Path, **variables: str) -> None:
        self.root = root
        self.home = root / "home"
        self.store = root / "store"
        self.builds = root / "builds.log"
        for folder in (self.home, root / "bin"):
            folder.mkdir(parents=True)
        (root / "bin" / "uv").symlink_to(uv_binary())
        self._variables = variables

    def variables(self, given: Given = NOTHING) -> dict[str, str]:
        """The whole environment of a command."""
        path = [self.root / "bin", Path(sys.base_prefix) / "bin", os.environ.get("PATH", "")]
        made = clean_environment(
            self.home,
            PATH=os.pathsep.join(map(str, path)),
            XDG_DATA_HOME=str(self.home / "data"),
            XDG_CACHE_HOME=str(self.home / "cache"),
            XDG_STATE_HOME=str(self.home / "state"),
            UV_CACHE_DIR=str(self.root / "uv-cache"),
            PIP_CONFIG_FILE=os.devnull,
            TINYBUILD_LOG=str(self.builds),
        )
        # uv has to read the settings of the projects; whose machine this is, the home hides.
        del made["UV_NO_CONFIG"]
        made = {name: value for name, value in made.items() if not name.startswith("GPUENV_")}
        made["GPUENV_STORE"] = str(self.store)
        return {**made, **self._variables, **given}

    def start(
        self,
        folder: Path,
        *words: str | Path,
        given: Given = NOTHING,
        before: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """Start `gpuenv` in a folder, after words such as `nohup`."""
        return subprocess.Popen(
            [*before, *GPUENV, *map(str, words)],
            cwd=folder,
            env=self.variables(given),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def gpuenv(
        self, folder: Path, *words: str | Path, network: bool = True, given: Given = NOTHING
    ) -> Done:
        """Run `gpuenv` in a folder, on request where only loopback exists."""
        command = [*GPUENV, *map(str, words)]
        return self.run(folder, *command, network=network, given=given)

    def uv(
        self, folder: Path, *words: str | Path, network: bool = True, given: Given = NOTHING
    ) -> Done:
        """Run the machine's uv in a folder."""
        return self.run(folder, str(self.root / "bin" / "uv"), *words, network=network, given=given)

    def run(
        self, folder: Path, *command: str | Path, network: bool = True, given: Given = NOTHING
    ) -> Done:
        """Run a command in a folder, on request where only loopback exists."""
        words = [*([] if network else without_network()), *map(str, command)]
        done = subprocess.run(
            words,
            cwd=folder,
            env=self.variables(given),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def built(self) -> list[str]:
        """The builds so far, each as `<hook> <name> <version>`, sorted."""
        if not self.builds.exists():
            return []
        return sorted(self.builds.read_text(encoding="utf-8").splitlines())

    def blobs(self) -> set[str]:
        """The files that the store holds, by their hash."""
        return {path.name for path in (self.store / "blobs" / "sha256").glob("??/*")}

    def fetched_blobs(self) -> set[str]:
        """Those that were not built here."""
        records = (self.store / "records" / name[:2] / f"{name}.json" for name in self.blobs())
        return {
            path.stem
            for path in records
            if not json.loads(path.read_text(encoding="utf-8")).get("built")
        }

    def snapshot(self, folder: Path) -> Snapshot:
        """The store, and what gpuenv keeps in a project."""
        link, state = folder / ".venv", folder / ".gpuenv" / "state.json"
        return Snapshot(
            blobs=frozenset(self.blobs()),
            environments=frozenset(self.environments()),
            link=str(link.readlink()) if link.is_symlink() else None,
            state=state.read_text(encoding="utf-8") if state.exists() else None,
            names=frozenset(path.name for path in folder.iterdir()) - {".gpuenv"},
        )

    def partial(self) -> list[Path]:
        """The files of which only a part has arrived."""
        return sorted((self.store / "partial").glob("*/part"))

    def flushed(self) -> bool:
        """Whether something of every file that has not arrived whole is on the disk for sure."""
        texts = []
        for path in (self.store / "partial").glob("*/journal.json"):
            try:
                texts.append(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # It has arrived meanwhile.
        return bool(texts) and all(json.loads(text)["flushed"] for text in texts)

    def environments(self) -> set[str]:
        """The environments that the store holds, finished or not."""
        return {path.name for path in (self.store / "envs").glob("*") if path.is_dir()}


def without_network() -> list[str]:
    """Words before a command that leave it nothing but loopback; skips where that is forbidden."""
    for words in (["unshare", "-n"], ["unshare", "-rn"]):
        try:
            tried = subprocess.run([*words, "true"], capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no `unshare` to cut off the network with")
        if tried.returncode == 0:
            return [*words, sys.executable, "-c", _LOOPBACK_ALONE]
    pytest.skip("this user may not make a network namespace")


def distributions(environment: Path) -> set[str]:
    """What an environment's own Python says is installed in it, as `name version`."""
    code = (
        "import importlib.metadata as m; "
        "print(*(f'{d.name} {d.version}' for d in m.distributions()), sep='\\n')"
    )
    return set(ask_python(environment, code).splitlines())


def ask_python(environment: Path, code: str) -> str:
    """What a piece of code prints in an environment."""
    done = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def line_of(environment: Path) -> str:
    """The CUDA line whose package an environment has."""
    return ask_python(environment, "import lean; print(lean.LINE)")
