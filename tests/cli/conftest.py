"""An index that serves the projects' packages, and machines to prepare them on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import NOTHING, Done, Given, Machine
from tests.cli.projects import TARGET, Project, publish_packages
from tests.simulators.index import IndexSimulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulators.index import Request


class Locker:
    """Makes `uv.lock` with a uv and a cache of its own, once for equal projects."""

    def __init__(self, root: Path, index: IndexSimulator) -> None:
        self._machine = Machine(root / "machine")
        self._root = root
        self._index = index
        self._locks: dict[tuple[str, ...], Path] = {}

    def lock(self, folder: Path) -> None:
        """Put a `uv.lock` into a project; what that asks of the index is forgotten."""
        texts = tuple(
            path.read_text(encoding="utf-8") for path in sorted(folder.rglob("pyproject.toml"))
        )
        made = self._locks.get(texts)
        if made is None:
            copy = self._root / str(len(self._locks))
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".venv", ".gpuenv"))
            done = self._machine.uv(copy, "lock")
            assert done.code == 0, done.err
            made = self._locks[texts] = copy / "uv.lock"
            self._index.reset_log()
        shutil.copyfile(made, folder / "uv.lock")


@dataclass(frozen=True)
class Prepared:
    """A machine with a prepared project, and all that its preparation took."""

    machine: Machine
    folder: Path
    done: Done
    requests: tuple[Request, ...]
    builds: tuple[str, ...]

    def gpuenv(self, *words: str | Path, network: bool = True, given: Given = NOTHING) -> Done:
        """Run `gpuenv` in the project."""
        return self.machine.gpuenv(self.folder, *words, network=network, given=given)

    def uv(self, *words: str | Path, network: bool = True, given: Given = NOTHING) -> Done:
        """Run uv in the project."""
        return self.machine.uv(self.folder, *words, network=network, given=given)

    @property
    def link(self) -> Path:
        """The project's `.venv`."""
        return self.folder / ".venv"

    def environment(self, profile: str) -> Path:
        """Where the environment of a profile is now."""
        done = self.gpuenv("status", "--json")
        found = {item["profile"]: item for item in done.envelope["data"]["prepared"]}
        return Path(found[profile]["environment"])


@pytest.fixture(scope="session")
def index_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexSimulator]:
    """One index for all tests, with the packages of `Project`."""
    with IndexSimulator() as server:
        publish_packages(server, tmp_path_factory.mktemp("packages"))
        yield server


@pytest.fixture
def index(index_server: IndexSimulator) -> Iterator[IndexSimulator]:
    """The index without faults and with an empty log."""
    index_server.heal()
    index_server.reset_log()
    yield index_server
    index_server.heal()


@pytest.fixture(scope="session")
def locker(tmp_path_factory: pytest.TempPathFactory, index_server: IndexSimulator) -> Locker:
    """Where locks come from."""
    return Locker(tmp_path_factory.mktemp("locks"), index_server)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing has run."""
    return Machine(tmp_path / "machine")


@pytest.fixture(scope="session")
def looker(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that only looks."""
    return Machine(tmp_path_factory.mktemp("looker") / "machine")


@pytest.fixture
def new_project(
    tmp_path: Path, index_server: IndexSimulator, locker: Locker
) -> Callable[[Project], Path]:
    """Write and lock a project, in a folder of its name."""

    def make(project: Project) -> Path:
        folder = project.write(tmp_path / project.name, index_server.index_url)
        if project.uv:
            locker.lock(folder)
        return folder

    return make


@pytest.fixture
def app(new_project: Callable[[Project], Path]) -> Path:
    """A locked project that nothing has prepared."""
    return new_project(Project())


def prepare_once(root: Path, index: IndexSimulator, locker: Locker) -> Prepared:
    """Prepare a project on a machine on which nothing has run."""
    machine = Machine(root / "machine")
    folder = Project().write(root / "app", index.index_url)
    locker.lock(folder)
    index.heal()
    index.reset_log()
    done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET)
    assert done.code == 0, done.err
    return Prepared(machine, folder, done, tuple(index.requests), tuple(machine.built()))


@pytest.fixture(scope="module")
def first_prepare(
    tmp_path_factory: pytest.TempPathFactory, index_server: IndexSimulator, locker: Locker
) -> Prepared:
    """The first `prepare` on a machine; the tests of a module share what it made."""
    return prepare_once(tmp_path_factory.mktemp("prepared"), index_server, locker)


@pytest.fixture(scope="session")
def warm_machine(
    tmp_path_factory: pytest.TempPathFactory, index_server: IndexSimulator, locker: Locker
) -> Machine:
    """A machine that has prepared some project before; no test uses that project."""
    return prepare_once(tmp_path_factory.mktemp("warm"), index_server, locker).machine


@pytest.fixture
def warm(warm_machine: Machine, index: IndexSimulator) -> Machine:
    """A machine that holds all packages already: for tests of something else than fetching."""
    index.reset_log()
    return warm_machine
