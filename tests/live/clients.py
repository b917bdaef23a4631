"""Package managers of several versions, real wheels, and an index that forbids to keep them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.cli.machine import Machine
from tests.simulators.environment import uv_binary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cli.machine import Done, Given
    from tests.simulators.index import IndexSimulator

TARGET: Final = "driver=580.65.06,cuda=13.0,gpus=9.0"
LINES: Final = ("cu12", "cu13")

# What gpuenv's own `pyproject.toml` asks for at least.
_OLDEST_UV: Final = re.compile(r"\"uv>=([0-9.]+)\"")
_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_EXAMPLE: Final = _REPOSITORY / "examples" / "tensorrt-lean"
# How this machine reaches the public index.
_REACHING: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SECONDS: Final = 300

_VERSION: Final = "10.16.1.11"
REQUIREMENTS: Final = {
    line: (
        "requests",
        f"tensorrt-lean-{line}=={_VERSION}",
        f"cuda-toolkit[cudart]=={line.removeprefix('cu')}.*",
    )
    for line in LINES
}
"""What the example needs, as pip is told."""

_POETRY: Final = """\
[project]
name = "app"
version = "0.1.0"
requires-python = ">=3.11,<3.14"
dependencies = ["requests"]

[project.optional-dependencies]
cu12 = ["tensorrt-lean-cu12-libs=={version}", "tensorrt-lean-cu12-bindings=={version}",
        "nvidia-cuda-runtime-cu12"]
cu13 = ["tensorrt-lean-cu13-libs=={version}", "tensorrt-lean-cu13-bindings=={version}",
        "nvidia-cuda-runtime"]

[tool.poetry]
package-mode = false

[[tool.poetry.source]]
name = "own"
url = "{url}"
priority = "primary"
"""


def reaching() -> dict[str, str]:
    """The variables with which the public index is reached from here."""
    names = (*_REACHING, *map(str.lower, _REACHING))
    return {name: os.environ[name] for name in names if name in os.environ}


def oldest_uv() -> str:
    """The oldest version of uv that gpuenv is made for."""
    found = _OLDEST_UV.search((_REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def take_uv(machine: Machine, uv: Path) -> None:
    """Let a machine's own uv be another one."""
    link = machine.root / "bin" / "uv"
    link.unlink()
    link.symlink_to(uv)


def install(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment with packages of the public index; its `bin` is given."""
    uv = str(uv_binary())
    _run(uv, "venv", "-q", "--no-config", "--python", sys.executable, folder)
    if requirements:
        words = ("-q", "--no-config", "--python", folder / "bin" / "python")
        _run(uv, "pip", "install", *words, *requirements)
    return folder / "bin"


def _run(*words: str | Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_")}
    done = subprocess.run(
        [*map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=kept,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr


def fetch_example(root: Path) -> tuple[Path, ...]:
    """The files of the example, and what builds it, from the public index; under their names."""
    machine = Machine(root / "public", **reaching())
    folder = copy_example(root / "example")
    done = machine.gpuenv(folder, "prepare", "--target", TARGET)
    assert done.code == 0, done.err
    listed = machine.gpuenv(folder, "store", "list", "--json").data["files"]
    kept = root / "files"
    kept.mkdir()
    for item in listed:
        if item["urls"]:  # Others were built here.
            digits = item["sha256"]
            blob = machine.store / "blobs" / "sha256" / digits[:2] / digits
            os.link(blob, kept / item["names"][0])
    return tuple(kept.iterdir())


def copy_example(folder: Path, index_url: str | None = None) -> Path:
    """The example in a new folder; with an index of its own it has no lock yet."""
    folder.mkdir(parents=True)
    names = ("pyproject.toml", "uv.lock") if index_url is None else ("pyproject.toml",)
    for name in names:
        shutil.copyfile(_EXAMPLE / name, folder / name)
    if index_url is not None:
        with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(f'\n[[tool.uv.index]]\nname = "own"\nurl = "{index_url}"\ndefault = true\n')
    return folder


def publish(index: IndexSimulator, files: Sequence[Path]) -> None:
    """Let an index have files; what is asked of it counts from then on."""
    for path in files:
        index.publish(path)
    index.reset_log()


def write_poetry(folder: Path, url: str) -> Path:
    """A project of poetry's with the lines as extras, and one index."""
    folder.mkdir(parents=True)
    text = _POETRY.format(version=_VERSION, url=url)
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def whole_files(index: IndexSimulator) -> Counter[str]:
    """The bytes that the index has sent of each file that it was asked for."""
    sent: Counter[str] = Counter()
    for request in index.requests:
        if request.filename.endswith((".whl", ".tar.gz")):
            sent[request.filename] += request.body_bytes
    return sent


@dataclass(frozen=True, kw_only=True)
class Client:
    """A package manager on a machine: how it goes to one of the lines.

    `variables` are what it needs beside the machine's own.
    """

    name: str
    machine: Machine
    folder: Path
    commands: dict[str, tuple[tuple[str | Path, ...], ...]]
    variables: Given

    def go(self, line: str) -> Done:
        """Install a line."""
        for words in self.commands[line]:
            done = self.machine.run(self.folder, *words, given=self.variables)
            assert done.code == 0, f"{self.name}, {line}: {done.out[-3000:]}\n{done.err[-3000:]}"
        return done


def uv_sync(name: str, machine: Machine, folder: Path, uv: Path) -> Client:
    """Plain `uv sync` in a project."""
    return Client(
        name=name,
        machine=machine,
        folder=folder,
        commands={line: ((uv, "sync", "--extra", line),) for line in LINES},
        variables={},
    )


def with_pip(  # noqa: PLR0913 - who, where, and what
    name: str,
    machine: Machine,
    folder: Path,
    *,
    python: Path,
    words: dict[str, tuple[str | Path, ...]],
    variables: Given,
) -> Client:
    """`pip install --force-reinstall` of some words, which are of each line its own."""
    head = (python, "-m", "pip", "install", "-q", "--no-compile", "--force-reinstall")
    return Client(
        name=name,
        machine=machine,
        folder=folder,
        commands={line: ((*head, *words[line]),) for line in LINES},
        variables={"PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables},
    )


def with_uv_pip(
    name: str,
    machine: Machine,
    folder: Path,
    python: Path,
    words: dict[str, tuple[str | Path, ...]],
) -> Client:
    """`uv pip sync` of a file."""
    head = (uv_binary(), "pip", "sync", "-q", "--python", python)
    return Client(
        name=name,
        machine=machine,
        folder=folder,
        commands={line: ((*head, *words[line]),) for line in LINES},
        variables={},
    )


def with_poetry(name: str, machine: Machine, folder: Path, poetry: Path) -> Client:
    """`poetry sync --extras` in a project of poetry's."""
    return Client(
        name=name,
        machine=machine,
        folder=folder,
        commands={line: ((poetry, "sync", "-q", "--extras", line),) for line in LINES},
        variables={
            "POETRY_CACHE_DIR": str(machine.root / "poetry-cache"),
            "POETRY_CONFIG_DIR": str(machine.root / "poetry-config"),
            "POETRY_DATA_DIR": str(machine.root / "poetry-data"),
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
            "POETRY_NO_INTERACTION": "1",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        },
    )


def variables_printed(text: str) -> dict[str, str]:
    """What lines such as `export NAME=value` set, as a shell reads them."""
    names = re.findall(r"^export (\w+)=", text, re.MULTILINE)
    done = subprocess.run(
        [
            "sh",
            "-c",
            f"{text}\n{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return {name: found[name] for name in names}


@contextmanager
def served(machine: Machine, folder: Path) -> Iterator[str]:
    """`gpuenv serve` in a project; its URL is told on the first line."""
    process = machine.start(folder, "serve", "--port", "0")
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, process.communicate(timeout=_SECONDS)
        yield first.split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=_SECONDS)
