"""The example on the TensorRT lean runtime: prepared once, then used without a network."""

from __future__ import annotations

import ctypes.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.machine import NOTHING, Done, Given, Machine, ask_python, distributions

pytestmark = pytest.mark.live

TARGET = "driver=580.65.06,cuda=13.0,gpus=9.0"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tensorrt-lean"
EXTRAS = {"cu13": ["--extra", "cu13"], "cu12": ["--extra", "cu12"], "cpu": []}
# How this machine reaches the public index.
REACHING = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Example:
    """A copy of the example, prepared on a machine with an empty store and cache."""

    machine: Machine
    folder: Path
    done: Done

    @property
    def link(self) -> Path:
        """Its `.venv`."""
        return self.folder / ".venv"

    def gpuenv(self, *words: str, network: bool = False) -> Done:
        """Run `gpuenv` in it, by default without a network."""
        return self.machine.gpuenv(self.folder, *words, network=network)

    def uv(self, *words: str, given: Given = NOTHING) -> Done:
        """Run uv in it without a network."""
        return self.machine.uv(self.folder, *words, network=False, given=given)


def reaching() -> dict[str, str]:
    """The variables with which this machine reaches the public index."""
    names = (*REACHING, *map(str.lower, REACHING))
    return {name: os.environ[name] for name in names if name in os.environ}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """What the README's first command does, on a fresh machine."""
    root = tmp_path_factory.mktemp("live")
    machine = Machine(root / "machine", **reaching())
    folder = root / "tensorrt-lean"
    folder.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    done = machine.gpuenv(folder, "prepare", "--json", "--target", TARGET)
    assert done.code == 0, done.err
    return Example(machine, folder, done)


@pytest.fixture
def example(prepared: Example) -> Example:
    """The prepared example with `cu13` active and as it was made."""
    done = prepared.gpuenv("switch", "cu13")
    assert done.code == 0, done.err
    return prepared


def lean_lines(environment: Path) -> set[str]:
    """The CUDA lines of the lean runtime that an environment has distributions of."""
    names = {name.split()[0].lower().replace("_", "-") for name in distributions(environment)}
    return {name.split("-")[2] for name in names if name.startswith("tensorrt-lean-cu")}


def version_of(environment: Path) -> str:
    return ask_python(environment, "import tensorrt_lean; print(tensorrt_lean.__version__)")


def test_the_chosen_line_is_importable_and_alone(example: Example) -> None:
    assert example.done.data["profile"] == "cu13"
    assert set(example.done.data["prepared"]) == {"cu13", "cu12", "cpu"}
    assert example.done.data["fetched"]["bytes"] > 80_000_000
    assert example.link.is_symlink()
    assert lean_lines(example.link) == {"cu13"}
    assert version_of(example.link).startswith("10.16.1")
    assert ask_python(example.link, "import requests; print(requests.__name__)") == "requests"


def test_second_prepare_fetches_and_makes_nothing_without_a_network(example: Example) -> None:
    environments = example.machine.environments()
    done = example.gpuenv("prepare", "--json", "--target", TARGET)
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert done.data["nothing_to_do"] is True
    assert example.machine.environments() == environments


def test_switch_and_rollback_without_a_network(example: Example) -> None:
    switched = example.gpuenv("switch", "cu12", "--json")
    assert (switched.data["from"], switched.data["to"]) == ("cu13", "cu12")
    assert lean_lines(example.link) == {"cu12"}
    assert version_of(example.link).startswith("10.16.1")
    back = example.gpuenv("rollback", "--json")
    assert (back.data["from"], back.data["to"]) == ("cu12", "cu13")
    assert lean_lines(example.link) == {"cu13"}
    assert version_of(example.link).startswith("10.16.1")


def test_plain_sync_there_and_back_without_a_network(example: Example) -> None:
    for line in ("cu12", "cu13", "cu12"):
        synced = example.uv("sync", "--extra", line)
        assert synced.code == 0, synced.err
        assert lean_lines(example.link) == {line}
    done = example.gpuenv("switch", "cu13", "--json")
    assert done.data["renewed"] is True
    assert lean_lines(example.link) == {"cu13"}
    assert version_of(example.link).startswith("10.16.1")


@pytest.mark.parametrize("line", ["cu12", "cu13"])
def test_uv_reinstalls_offline_from_what_prepare_left_in_its_cache(
    example: Example, tmp_path: Path, line: str
) -> None:
    words = ["sync", "--frozen", "--offline", "--reinstall", "--extra", line]
    done = example.uv(*words, given={"UV_PROJECT_ENVIRONMENT": str(tmp_path / "other")})
    assert done.code == 0, done.err
    assert lean_lines(tmp_path / "other") == {line}


@pytest.mark.parametrize("profile", EXTRAS)
def test_uv_finds_nothing_to_do_in_an_environment(example: Example, profile: str) -> None:
    status = example.gpuenv("status", "--json").data
    found = {item["profile"]: item["environment"] for item in status["prepared"]}
    words = ["sync", "--frozen", *EXTRAS[profile], "--check"]
    done = example.uv(*words, given={"UV_PROJECT_ENVIRONMENT": found[profile]})
    assert done.code == 0, done.err


def test_a_project_on_the_same_store_fetches_nothing(example: Example, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    done = example.machine.gpuenv(folder, "prepare", "--json", "--target", TARGET, network=False)
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert lean_lines(folder / ".venv") == {"cu13"}


def test_a_lost_uv_cache_costs_no_download(prepared: Example, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    done = prepared.machine.gpuenv(
        folder,
        *("prepare", "--only", "--json", "--target", TARGET),
        network=False,
        given={"UV_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert done.data["fetched"] == {"files": 0, "bytes": 0}
    assert version_of(folder / ".venv").startswith("10.16.1")


def test_the_gpu_libraries_load_inside_the_environment(example: Example) -> None:
    if ctypes.util.find_library("cuda"):
        pytest.skip("this machine has an NVIDIA driver: a `gpu` test checks more")
    for line, runtime in (("cu13", "libcudart.so.13"), ("cu12", "libcudart.so.12")):
        data = example.gpuenv("check", "--profile", line, "--json").data
        assert [(step["name"], step["on_gpu"], step["state"]) for step in data["steps"]] == [
            ("driver", False, "skipped"),
            (runtime, False, "ok"),
            (runtime, True, "skipped"),
            ("tensorrt_lean", False, "ok"),
            ("tensorrt_lean", True, "skipped"),
        ]
        versions = {step["name"]: step["version"] for step in data["steps"] if step["version"]}
        assert versions[runtime].startswith(f"{line.removeprefix('cu')}.")
        assert versions["tensorrt_lean"].startswith("10.16.1")
        assert data["ran_on_gpu"] is False


def test_an_environment_for_the_cpu_has_nothing_to_check(example: Example) -> None:
    done = example.gpuenv("check", "--profile", "cpu")
    assert done.code == 0, done.err
    assert "nothing to check" in done.out


@pytest.mark.gpu
def test_the_gpu_libraries_run_on_every_gpu(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", **reaching())
    folder = tmp_path / "tensorrt-lean"
    folder.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    gpus = machine.gpuenv(folder, "detect", "--json").data["gpus"]
    if not gpus:
        pytest.skip("this machine has no GPU")
    done = machine.gpuenv(folder, "prepare", "--json")
    assert done.code == 0, done.err
    if done.data["profile"] == "cpu":
        pytest.skip("CUDA 12 and 13 do not run on this machine's GPUs")
    data = machine.gpuenv(folder, "check", "--json").data
    assert {step["state"] for step in data["steps"]} == {"ok"}
    tried = {step["gpu"] for step in data["steps"] if step["name"].startswith("libcudart")}
    assert tried == {None, *range(len(gpus))}
    assert "tensorrt_lean" in {step["name"] for step in data["steps"] if step["on_gpu"]}
