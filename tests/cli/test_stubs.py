"""Stub source distributions: the wheel that they stand for is fetched by gpuenv, once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Done, Machine, ask_python, distributions
from tests.cli.projects import TARGET, Project, downloads
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_stub, make_wheel, make_wheel_stub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUB = "trt_cu12_libs-10.9.0.34.tar.gz"
WHEEL = "trt_cu12_libs-10.9.0.34-py3-none-any.whl"
OTHERS = ("trt_cu12_libs-10.9.0.34-py3-none-win_amd64.whl", "trt_cu12_libs-10.9.0-py3-none-any.whl")
NAMES = {"trt_cu12_libs/which.py": b"WHICH = 'the real one'\n"}


@dataclass(frozen=True)
class Indexes:
    """A public index that has the stub, and the one that it names, which has the wheels."""

    public: IndexSimulator
    nvidia: IndexSimulator

    def reset(self) -> None:
        """Heal both, and forget what they were asked."""
        for index in (self.public, self.nvidia):
            index.heal()
            index.reset_log()

    def downloads(self) -> dict[str, int]:
        """How often each file was fetched from either."""
        return {**downloads(self.public), **downloads(self.nvidia)}


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexes]:
    folder = tmp_path_factory.mktemp("packages")
    with IndexSimulator("pypi") as public, IndexSimulator() as nvidia:
        for tag in ("py3-none-any", "py3-none-win_amd64"):
            name, version = "trt-cu12-libs", "10.9.0.34"
            made = make_wheel(
                folder, name, version, tag=tag, requires=["common"], files=NAMES, size=300_000
            )
            nvidia.publish(made)
        nvidia.publish(make_wheel(folder, "trt-cu12-libs", "10.9.0"))
        public.publish(
            make_stub(folder, "trt-cu12-libs", "10.9.0.34", nvidia.index_url, requires=["common"])
        )
        public.publish(
            make_stub(folder, "gone-cu12-libs", "1.0", nvidia.index_url, requires=["common"])
        )
        public.publish(make_wheel_stub(folder))
        public.publish(make_wheel(folder, "common", "1.0"))
        yield Indexes(public, nvidia)


def write(folder: Path, indexes: Indexes, package: str = "trt-cu12-libs") -> Path:
    """A project that uv locks, whose one line needs a stub."""
    more = f'\n[project.optional-dependencies]\ncu12 = ["{package}"]\n'
    project = Project(lines=(), table="dependency-groups", more=more)
    return project.write(folder, indexes.public.index_url)


@dataclass(frozen=True)
class Prepared:
    """A project with a stub, what a dry run and `prepare` said, and what they asked for."""

    machine: Machine
    folder: Path
    planned: Done
    looked: dict[str, int]
    done: Done
    fetched: dict[str, int]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, indexes: Indexes) -> Prepared:
    root = tmp_path_factory.mktemp("stubs")
    folder = write(root / "app", indexes)
    locked = Machine(root / "other").uv(folder, "lock")
    assert locked.code == 0, locked.err
    machine = Machine(root / "machine")
    indexes.reset()
    planned = machine.gpuenv(folder, "prepare", "--dry-run", "--json", "--target", TARGET)
    assert not machine.store.exists()
    looked = indexes.downloads()
    indexes.reset()
    done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET)
    assert done.code == 0, done.err
    return Prepared(machine, folder, planned, looked, done, indexes.downloads())


def substitution(indexes: Indexes, size: int) -> dict[str, object]:
    return {
        "name": "trt-cu12-libs",
        "version": "10.9.0.34",
        "stub": STUB,
        "wheel": WHEEL,
        "bytes": size,
        "index": indexes.nvidia.index_url.rstrip("/"),
    }


def test_the_wheel_is_fetched_once_and_by_nobody_but_gpuenv(
    prepared: Prepared, indexes: Indexes
) -> None:
    assert prepared.fetched == dict.fromkeys(
        (STUB, WHEEL, "wheel_stub-0.5.0-py3-none-any.whl", "common-1.0-py3-none-any.whl"), 1
    )
    # The build of uv was there, and got the wheel from the store.
    assert prepared.machine.built() == ["download_wheel trt-cu12-libs 10.9.0.34"]
    (wheel,) = prepared.done.data["substitutions"]
    assert wheel == substitution(indexes, wheel["bytes"])
    assert wheel["bytes"] > 300_000


def test_the_environment_has_the_real_package(prepared: Prepared) -> None:
    link = prepared.folder / ".venv"
    assert "trt-cu12-libs 10.9.0.34" in distributions(link)
    code = "from trt_cu12_libs.which import WHICH; print(WHICH)"
    assert ask_python(link, code) == "the real one"


def test_the_local_lock_has_the_real_wheel_from_the_store(prepared: Prepared) -> None:
    text = (prepared.folder / ".gpuenv" / "pylock.cu12.toml").read_text(encoding="utf-8")
    assert f"/simple/trt-cu12-libs/{WHEEL}" in text
    assert STUB not in text


def test_a_dry_run_tells_the_wheel_and_keeps_nothing(prepared: Prepared) -> None:
    data = prepared.planned.data
    assert data["substitutions"] == prepared.done.data["substitutions"]
    assert {item["name"]: item["bytes"] for item in data["missing"]}.keys() >= {STUB, WHEEL}
    assert all(item["bytes"] for item in data["missing"])
    assert prepared.looked == {STUB: 1}


def test_plain_uv_installs_it_again_without_a_network(prepared: Prepared) -> None:
    words = ("sync", "--extra", "cu12", "--offline", "--reinstall")
    environment = prepared.folder.parent / "again"
    given = {"UV_PROJECT_ENVIRONMENT": str(environment)}
    done = prepared.machine.uv(prepared.folder, *words, network=False, given=given)
    assert done.code == 0, done.err
    assert "trt-cu12-libs 10.9.0.34" in distributions(environment)


def test_what_is_prepared_asks_nothing_again(prepared: Prepared, indexes: Indexes) -> None:
    indexes.reset()
    for words in (["prepare"], ["prepare", "--dry-run"], ["prepare", "--offline"]):
        data = prepared.machine.gpuenv(prepared.folder, *words, "--json").data
        assert data["substitutions"] == prepared.done.data["substitutions"]
        assert data["missing"] == []
    assert indexes.public.requests == indexes.nvidia.requests == []


def test_people_are_told_what_it_stands_for(prepared: Prepared, indexes: Indexes) -> None:
    done = prepared.machine.gpuenv(prepared.folder, "prepare")
    index = indexes.nvidia.index_url.rstrip("/")
    assert f"`trt-cu12-libs` 10.9.0.34 stands for `{WHEEL}` (" in done.out
    assert f") on {index}\n" in done.out
    locked = prepared.machine.gpuenv(prepared.folder, "lock", "--json").data
    assert locked["substitutions"] == prepared.done.data["substitutions"]


@pytest.mark.parametrize("index", ["", "http://127.0.0.1:9/simple/"])
def test_a_changed_environment_is_made_again_where_uv_has_lost_the_build(
    prepared: Prepared, index: str
) -> None:
    machine, folder = prepared.machine, prepared.folder
    # As `gpuenv env` sets it to a server of the store.
    announced = machine.store / "serve.json"
    announced.write_text(json.dumps({"url": index}), encoding="utf-8")
    given = {"WHEEL_STUB_PIP_INDEX_URL": index} if index else {}
    assert machine.gpuenv(folder, "switch", "cpu").code == 0
    environment = next(machine.store.glob("envs/app-cu12-*/lib/*/site-packages"))
    (environment / "extra.py").touch()
    assert machine.uv(folder, "cache", "clean").code == 0

    done = machine.gpuenv(folder, "switch", "cu12", network=False, given=given)

    announced.unlink()
    assert done.code == 0, done.err
    assert "trt-cu12-libs 10.9.0.34" in distributions(folder / ".venv")


def test_a_bundle_has_all_that_it_takes(prepared: Prepared, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar"
    done = prepared.machine.gpuenv(prepared.folder, "store", "export", bundle)
    assert done.code == 0, done.err
    other = Machine(tmp_path / "other")
    folder = tmp_path / "app"
    folder.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        (folder / name).write_bytes((prepared.folder / name).read_bytes())

    for words in (("store", "import", bundle), ("prepare", "--offline", "--target", TARGET)):
        done = other.gpuenv(folder, *words, network=False)
        assert done.code == 0, done.err
    assert "trt-cu12-libs 10.9.0.34" in distributions(folder / ".venv")


def test_where_uv_had_built_the_stub_before_no_backend_runs(
    tmp_path: Path, indexes: Indexes
) -> None:
    machine = Machine(tmp_path / "machine")
    folder = write(tmp_path / "app", indexes)
    assert machine.uv(folder, "sync", "--extra", "cu12").code == 0
    built = machine.built()
    (folder / ".venv").rename(tmp_path / "old")
    indexes.reset()

    done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET)

    assert done.code == 0, done.err
    assert machine.built() == built == ["download_wheel trt-cu12-libs 10.9.0.34"]
    fetched = indexes.downloads()
    assert (fetched[STUB], fetched[WHEEL]) == (1, 1)
    # What it takes to build it is known all the same.
    words = ("store", "export", tmp_path / "bundle.tar")
    assert "is not known" not in machine.gpuenv(folder, *words).err


def locked(tmp_path: Path, indexes: Indexes, package: str = "trt-cu12-libs") -> Path:
    folder = write(tmp_path / "app", indexes, package)
    done = Machine(tmp_path / "locker").uv(folder, "lock")
    assert done.code == 0, done.err
    indexes.reset()
    return folder


def test_a_stub_whose_index_cannot_be_reached_is_3_and_is_named(
    machine: Machine, tmp_path: Path, indexes: Indexes
) -> None:
    folder = locked(tmp_path, indexes)
    given = {"WHEEL_STUB_PIP_INDEX_URL": "http://127.0.0.1:9/"}

    done = machine.gpuenv(folder, "prepare", "--target", TARGET, given=given)

    assert done.code == 3
    assert "`http://127.0.0.1:9/trt-cu12-libs/`" in done.message.error
    assert done.message.causes[-1] == (
        "the stub `trt-cu12-libs` 10.9.0.34 names that index for its wheel"
    )
    assert machine.environments() == set()
    indexes.public.reset_log()
    looked = machine.gpuenv(folder, "doctor", "--target", TARGET, given=given)
    assert looked.code == 3
    assert "`http://127.0.0.1:9/` does not answer" in looked.message.causes[0]


def test_a_stub_without_its_wheel_names_the_index(
    machine: Machine, tmp_path: Path, indexes: Indexes
) -> None:
    folder = locked(tmp_path, indexes, "gone-cu12-libs")

    done = machine.gpuenv(folder, "prepare", "--target", TARGET)

    assert done.code == 1
    index = indexes.nvidia.index_url
    assert done.message.error == (
        f"`gone-cu12-libs` 1.0 stands for a wheel that {index} does not have"
    )
    assert done.message.causes == (f"`{index}gone-cu12-libs/` lists no wheel",)
    assert machine.environments() == set()


def test_a_wheel_that_is_not_what_its_page_says_is_4(
    machine: Machine, tmp_path: Path, indexes: Indexes
) -> None:
    folder = locked(tmp_path, indexes)
    indexes.nvidia.corrupt(WHEEL)

    done = machine.gpuenv(folder, "prepare", "--target", TARGET)

    assert done.code == 4, done.err
    assert machine.environments() == set()
    assert machine.built() == []


@pytest.mark.parametrize(("index", "files"), [("simulator", {STUB, WHEEL}), ("nvidia", {WHEEL})])
def test_of_two_indexes_with_the_package_the_lock_says_which(
    machine: Machine, tmp_path: Path, indexes: Indexes, index: str, files: set[str]
) -> None:
    folder = write(tmp_path / "app", indexes)
    with (folder / "pyproject.toml").open("a", encoding="utf-8") as manifest:
        manifest.write(
            f'\n[[tool.uv.index]]\nname = "nvidia"\nurl = "{indexes.nvidia.index_url}"\n'
            f'[tool.uv.sources]\ntrt-cu12-libs = {{ index = "{index}" }}\n'
        )
    assert Machine(tmp_path / "locker").uv(folder, "lock").code == 0
    indexes.reset()

    words = ("prepare", "--fetch-only", "--json", "--target", TARGET)
    data = machine.gpuenv(folder, *words).data

    assert indexes.downloads() == dict.fromkeys({*files, "common-1.0-py3-none-any.whl"}, 1)
    assert len(data["substitutions"]) == (STUB in files)


# Where gpuenv resolves itself


def test_a_lock_of_gpuenvs_own_names_the_wheels_and_never_the_stub(
    machine: Machine, tmp_path: Path, indexes: Indexes
) -> None:
    indexes.reset()
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        'dependencies = []\n\n[project.optional-dependencies]\ncu12 = ["trt-cu12-libs"]\n',
        encoding="utf-8",
    )
    given = {"UV_DEFAULT_INDEX": indexes.public.index_url}

    data = machine.gpuenv(folder, "lock", "--json", "--target", TARGET, given=given).data
    done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET, given=given)

    assert done.code == 0, done.err
    assert [item["wheel"] for item in data["substitutions"]] == [WHEEL]
    text = (folder / "pylock.cu12.toml").read_text(encoding="utf-8")
    assert STUB not in text
    assert f'index = "{indexes.nvidia.index_url.rstrip("/")}"' in text
    assert WHEEL in text
    assert OTHERS[0] in text
    assert OTHERS[1] not in text
    assert indexes.downloads()[WHEEL] == 1
    assert done.data["substitutions"] == []  # The lock itself has the wheel now.
    assert machine.built() == []
    assert "trt-cu12-libs 10.9.0.34" in distributions(folder / ".venv")


def test_a_package_that_a_profile_claims_is_never_taken_from_its_stub(
    machine: Machine, tmp_path: Path, indexes: Indexes
) -> None:
    indexes.reset()
    folder = tmp_path / "app"
    (folder / "profiles").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        'dependencies = []\n\n[project.optional-dependencies]\ncu12 = ["trt-cu12-libs"]\n',
        encoding="utf-8",
    )
    index = {"name": "nvidia", "url": indexes.nvidia.index_url, "packages": ["trt*"]}
    profile = {
        "schema": 1,
        "name": "cu12",
        "cuda": "12",
        "extras": ["cu12"],
        "indexes": [index],
    }
    (folder / "profiles" / "cu12.yaml").write_text(json.dumps(profile), encoding="utf-8")
    given = {"UV_DEFAULT_INDEX": indexes.public.index_url}

    done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET, given=given)

    assert done.code == 0, done.err
    assert done.data["substitutions"] == []
    assert not any("trt" in request.path for request in indexes.public.requests)
    assert indexes.downloads() == {WHEEL: 1, "common-1.0-py3-none-any.whl": 1}
    assert machine.built() == []
