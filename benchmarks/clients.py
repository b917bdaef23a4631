"""How many bytes of files each client downloads when a project goes to and fro.

Run it with `python -m benchmarks.clients`. The project is like the example: TensorRT's lean
runtime and the CUDA runtime for CUDA 12 and 13, about 100 MB from the public index, which an
index on loopback serves with the headers of NVIDIA's. Before: each client by itself, with
empty caches. After: the same on a machine on which one `gpuenv prepare` was run. Each client
is set to `cu12`, to `cu13`, and to `cu12` again. What it prints is a table for the README.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.served import MEGABYTE
from tests.cli.machine import Machine
from tests.live.clients import (
    LINES,
    REQUIREMENTS,
    TARGET,
    copy_example,
    fetch_example,
    install,
    oldest_uv,
    publish,
    served,
    take_uv,
    uv_sync,
    variables_printed,
    whole_files,
    with_pip,
    with_poetry,
    with_uv_pip,
    write_poetry,
)
from tests.simulators.index import IndexSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.clients import Client

_OLD_PIP = "pip==23.3.2"


def main() -> None:
    """Measure every client, before and after, and print the table."""
    with tempfile.TemporaryDirectory() as name, IndexSimulator() as index:
        root = Path(name)
        publish(index, fetch_example(root))
        tools = {
            "old": install(root / "old-uv", f"uv=={oldest_uv()}") / "uv",
            "new": install(root / "new-uv", "uv") / "uv",
            "poetry": install(root / "poetry", "poetry") / "poetry",
        }
        project = copy_example(root / "locked", index.index_url)
        locked = Machine(root / "locker").uv(project, "lock")
        if locked.code:
            sys.exit(locked.err)
        lock = (project / "uv.lock").read_bytes()
        before = {
            client.name: _toggled(client, index)
            for client in _alone(root / "before", tools, index, lock)
        }
        folder = copy_example(root / "after", index.index_url)
        (folder / "uv.lock").write_bytes(lock)
        machine = Machine(root / "machine")
        take_uv(machine, tools["new"])
        index.reset_log()
        done = machine.gpuenv(folder, "prepare", "--uv", tools["old"], "--target", TARGET)
        if done.code:
            sys.exit(done.err)
        once = sum(whole_files(index).values())
        after = {}
        with served(machine, folder) as url:
            for client in _prepared(
                root / "clients", tools, machine=machine, folder=folder, index=index, url=url
            ):
                after[client.name] = _toggled(client, index)
        _print(before, after, once)


def _alone(
    root: Path, tools: dict[str, Path], index: IndexSimulator, lock: bytes
) -> Iterator[Client]:
    """Every client by itself, each on a machine of its own."""

    def machine(name: str) -> Machine:
        return Machine(root / name / "machine")

    for age, name in _names(tools).items():
        folder = copy_example(root / age / "app", index.index_url)
        (folder / "uv.lock").write_bytes(lock)
        yield uv_sync(name, machine(age), folder, tools[age])
    folder = root / "uv-pip"
    python = install(folder / "venv") / "python"
    for line in LINES:
        (folder / f"{line}.in").write_text("\n".join(REQUIREMENTS[line]), encoding="utf-8")
        words = ("--index-url", index.index_url, "-q", "--python", python)
        compiled = machine(f"{line}-compiler").uv(
            folder, "pip", "compile", *words, f"{line}.in", "-o", f"{line}.txt"
        )
        if compiled.code:
            sys.exit(compiled.err)
    locks: dict[str, tuple[str | Path, ...]]
    locks = {line: ("--index-url", index.index_url, f"{line}.txt") for line in LINES}
    yield with_uv_pip("`uv pip sync`", machine("uv-pip"), folder, python=python, words=locks)
    for name, version in (("pip 23.3", _OLD_PIP), ("pip", "pip")):
        python = install(root / name / "venv", version, "setuptools") / "python"
        yield with_pip(
            _pip_name(python) if version == "pip" else name,
            machine(name),
            root / name,
            python=python,
            words=dict(REQUIREMENTS),
            variables={"PIP_INDEX_URL": index.index_url},
        )
    folder = write_poetry(root / "poetry" / "app", index.index_url)
    client = with_poetry(_version(tools["poetry"]), machine("poetry"), folder, tools["poetry"])
    _lock(client, tools["poetry"])
    yield client


def _prepared(  # noqa: PLR0913 - a machine, and what is on it
    root: Path,
    tools: dict[str, Path],
    *,
    machine: Machine,
    folder: Path,
    index: IndexSimulator,
    url: str,
) -> Iterator[Client]:
    """Every client on the machine on which the project was prepared."""
    for age, name in _names(tools).items():
        yield uv_sync(name, machine, folder, tools[age])
    python = install(root / "uv-pip") / "python"
    locks: dict[str, tuple[str | Path, ...]]
    locks = {line: (f".gpuenv/pylock.{line}.toml",) for line in LINES}
    yield with_uv_pip("`uv pip sync`", machine, folder, python=python, words=locks)
    python = install(root / "old-pip", _OLD_PIP, "setuptools") / "python"
    printed = machine.gpuenv(folder, "env", "--pip")
    if printed.code:
        sys.exit(printed.err)
    given = {"PIP_INDEX_URL": index.index_url}
    yield with_pip(
        "pip 23.3",
        machine,
        folder,
        python=python,
        words=dict(REQUIREMENTS),
        variables={**given, **variables_printed(printed.out)},
    )
    python = install(root / "new-pip", "pip") / "python"
    words = {line: ("-r", *lock) for line, lock in locks.items()}
    yield with_pip(_pip_name(python), machine, folder, python=python, words=words, variables=given)
    project = write_poetry(root / "poetry", url)
    client = with_poetry(_version(tools["poetry"]), machine, project, tools["poetry"])
    _lock(client, tools["poetry"])
    yield client


def _lock(client: Client, poetry: Path) -> None:
    done = client.machine.run(client.folder, poetry, "lock", given=client.variables)
    if done.code:
        sys.exit(done.err)


def _names(tools: dict[str, Path]) -> dict[str, str]:
    return {age: f"`uv sync`, {_version(tools[age])}" for age in ("old", "new")}


def _version(tool: Path) -> str:
    """A tool's name and version, as it says itself."""
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return f"{tool.name} {found[0] if found else ''}"


def _pip_name(python: Path) -> str:
    return _version(python.with_name("pip"))


def _toggled(client: Client, index: IndexSimulator) -> list[int]:
    """The bytes of files that the index sends for `cu12`, then `cu13`, then `cu12` again."""
    sent = []
    for line in ("cu12", "cu13", "cu12"):
        index.reset_log()
        client.go(line)
        sent.append(sum(whole_files(index).values()))
    return sent


def _print(before: dict[str, list[int]], after: dict[str, list[int]], once: int) -> None:
    print(f"`gpuenv prepare` downloads {once / MEGABYTE:.1f} MB, once")
    print("| client | `cu12` first | then `cu13` | `cu12` again | each, after `gpuenv prepare` |")
    print("|---|---|---|---|---|")
    for name, sent in before.items():
        cells = [f"{size / MEGABYTE:.1f} MB" for size in sent]
        later = sorted({f"{size} bytes" for size in after[name]})
        print(f"| {name} | {' | '.join(cells)} | {', '.join(later)} |")


if __name__ == "__main__":
    main()
