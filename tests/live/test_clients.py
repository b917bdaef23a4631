"""After one `prepare` no client downloads again, although the index forbids to keep its files.

uv, pip and poetry are real ones of several versions, and the wheels are TensorRT's and CUDA's.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, distributions
from tests.live.clients import (
    LINES,
    REQUIREMENTS,
    TARGET,
    Client,
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
    from pathlib import Path

    from tests.simulators.index import Request

pytestmark = pytest.mark.live

TOGGLES = 20


@dataclass(frozen=True)
class Prepared:
    """A machine on which one `prepare` was run, for a uv beside the user's own."""

    machine: Machine
    folder: Path
    index: IndexSimulator
    lock: bytes
    requests: tuple[Request, ...]
    sizes: dict[str, int]
    old_uv: Path
    new_uv: Path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """The example, prepared from an index on a name that no uv knows."""
    root = tmp_path_factory.mktemp("clients")
    files = fetch_example(root)
    old_uv = install(root / "old-uv", f"uv=={oldest_uv()}") / "uv"
    new_uv = install(root / "new-uv", "uv") / "uv"
    with IndexSimulator() as index:
        publish(index, files)
        folder = copy_example(root / "app", index.index_url)
        assert Machine(root / "locker").uv(folder, "lock").code == 0
        lock = (folder / "uv.lock").read_bytes()
        index.reset_log()
        machine = Machine(root / "machine")
        take_uv(machine, new_uv)
        done = machine.gpuenv(folder, "prepare", "--uv", old_uv, "--target", TARGET)
        assert done.code == 0, done.err
        yield Prepared(
            machine,
            folder,
            index,
            lock,
            tuple(index.requests),
            {path.name: path.stat().st_size for path in files},
            old_uv,
            new_uv,
        )


def toggle(prepared: Prepared, client: Client, environment: Path) -> None:
    """Go to and fro at random; each line is there, and the index is asked for no file."""
    seed = int(os.environ.get("GPUENV_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"{client.name}: GPUENV_TEST_SEED={seed}")  # noqa: T201 - to run it again
    chance = random.Random(seed)  # noqa: S311 - a test that can be run again
    prepared.index.reset_log()
    for _ in range(TOGGLES):
        line = chance.choice(LINES)
        client.go(line)
    found = {name.replace("_", "-").partition(" ")[0] for name in distributions(environment)}
    assert f"tensorrt-lean-{line}-libs" in found
    assert whole_files(prepared.index) == {}
    assert (prepared.folder / "uv.lock").read_bytes() == prepared.lock


def test_prepare_fetches_each_file_and_page_once_for_all_uvs(prepared: Prepared) -> None:
    files: dict[str, int] = {}
    pages: list[str] = []
    for request in prepared.requests:
        if request.filename in prepared.sizes:
            files[request.filename] = files.get(request.filename, 0) + request.body_bytes
        elif request.body_bytes:
            pages.append(request.path)
    assert files
    assert all(size <= prepared.sizes[name] for name, size in files.items()), files
    assert sorted(pages) == sorted(set(pages))
    assert (prepared.folder / "uv.lock").read_bytes() == prepared.lock


@pytest.mark.parametrize("age", ["newest", "oldest"])
def test_plain_uv_sync(prepared: Prepared, age: str) -> None:
    uv = prepared.old_uv if age == "oldest" else prepared.new_uv
    client = uv_sync(f"uv, {age}", prepared.machine, prepared.folder, uv)
    toggle(prepared, client, prepared.folder / ".venv")


def test_newest_pip_with_the_local_locks(prepared: Prepared, tmp_path: Path) -> None:
    python = install(tmp_path / "venv", "pip") / "python"
    client = with_pip(
        "pip, newest",
        prepared.machine,
        prepared.folder,
        python=python,
        words={line: ("-r", f".gpuenv/pylock.{line}.toml") for line in LINES},
        variables={"PIP_INDEX_URL": prepared.index.index_url},
    )
    toggle(prepared, client, tmp_path / "venv")


def test_uv_pip_with_the_local_locks(prepared: Prepared, tmp_path: Path) -> None:
    python = install(tmp_path / "venv") / "python"
    locks: dict[str, tuple[str | Path, ...]]
    locks = {line: (f".gpuenv/pylock.{line}.toml",) for line in LINES}
    client = with_uv_pip("uv pip", prepared.machine, prepared.folder, python=python, words=locks)
    toggle(prepared, client, tmp_path / "venv")


def test_old_pip_with_what_env_prints(prepared: Prepared, tmp_path: Path) -> None:
    python = install(tmp_path / "venv", "pip==23.3.2", "setuptools") / "python"
    printed = prepared.machine.gpuenv(prepared.folder, "env", "--pip")
    assert printed.code == 0, printed.err
    given = {"PIP_INDEX_URL": prepared.index.index_url, **variables_printed(printed.out)}
    words: dict[str, tuple[str | Path, ...]] = dict(REQUIREMENTS)
    client = with_pip(
        "pip 23", prepared.machine, prepared.folder, python=python, words=words, variables=given
    )
    toggle(prepared, client, tmp_path / "venv")


def test_poetry_with_serve_as_its_source(prepared: Prepared, tmp_path: Path) -> None:
    poetry = install(tmp_path / "poetry", "poetry") / "poetry"
    prepared.index.reset_log()
    with served(prepared.machine, prepared.folder) as url:
        folder = write_poetry(tmp_path / "app", url)
        client = with_poetry("poetry", prepared.machine, folder, poetry)
        locked = prepared.machine.run(folder, poetry, "lock", given=client.variables)
        assert locked.code == 0, locked.err + locked.out
        assert whole_files(prepared.index) == {}
        toggle(prepared, client, folder / ".venv")


def test_the_proof_tries_poetry_where_serve_does_not_run(
    prepared: Prepared, tmp_path: Path
) -> None:
    poetry = install(tmp_path / "poetry", "poetry") / "poetry"
    with served(prepared.machine, prepared.folder) as url:
        folder = write_poetry(tmp_path / "app", url)
        client = with_poetry("poetry", prepared.machine, folder, poetry)
        locked = prepared.machine.run(folder, poetry, "lock", given=client.variables)
        assert locked.code == 0, locked.err + locked.out
    with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
        # Else the profiles' index counts, which is not to be asked here.
        file.write(f'\n[[tool.uv.index]]\nurl = "{prepared.index.index_url}"\ndefault = true\n')
    assert prepared.machine.uv(folder, "lock").code == 0
    before = (folder / "poetry.lock").read_bytes()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "poetry").symlink_to(poetry)
    path = os.pathsep.join((str(tmp_path / "bin"), prepared.machine.variables()["PATH"]))
    words = ("prepare", "--adopt", "--proof", "--json", "--target", TARGET)
    done = prepared.machine.gpuenv(folder, *words, given={"PATH": path})
    (proof,) = (one for one in done.data["proof"] if one["client"] == "poetry")
    assert (proof["ok"], proof["wanted"]) == (True, [])
    assert proof["program"] == str(tmp_path / "bin" / "poetry")
    assert set(proof["toggles"]) >= set(LINES)
    assert (folder / "poetry.lock").read_bytes() == before
