"""The script that picks an environment when a container starts, run by real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.profiles import load_facts, load_profiles, shipped_folder
from provisioner.core.image_entry import Offer, entry_script
from provisioner.core.image_needs import image_needs

if TYPE_CHECKING:
    from pathlib import Path

PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Jan 1 00:00:00 UTC 2026"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder)"
SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)] or ["sh"]

PROFILES = {item.name: item for item in load_profiles(sorted(shipped_folder().glob("*.yaml")))}


@dataclass
class Said:
    """What came of it."""

    code: int
    out: str
    err: str


class Container:
    """What a container sees of its host."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root = root
        self.programs = root / "programs"
        self.programs.mkdir()
        self._shell = [shell, "sh"] if shell == "busybox" else [shell]

    def gpu(self, driver: str | None, capabilities: str | None, form: str = PROPRIETARY) -> None:
        """Give it GPUs, with a driver, and nvidia-smi where it is to tell capabilities."""
        (self.root / "dev").mkdir(exist_ok=True)
        (self.root / "dev" / "nvidia0").touch()
        if driver:
            self.driver(driver, form)
        if capabilities is not None:
            program = self.programs / "nvidia-smi"
            answer = "\\n".join(capabilities.split())
            program.write_text(
                f'#!/bin/sh\ncase $1 in *compute_cap) printf "{answer}\\n" ;; '
                f"*) echo {driver or '555.0'};; esac\n"
            )
            program.chmod(0o755)

    def driver(self, version: str, form: str = PROPRIETARY) -> None:
        """Load a driver."""
        file = self.root / "proc/driver/nvidia/version"
        file.parent.mkdir(parents=True)
        file.write_text(form.format(version) + "\nGCC version: gcc 12.2.0\n")

    def run(self, *profiles: str, words: tuple[str, ...] = (), **variables: str) -> Said:
        """Start the entry point of an image with some profiles."""
        offers = []
        for name in profiles:
            environment = self.root / "with space" / name
            (environment / "bin").mkdir(parents=True, exist_ok=True)
            python = environment / "bin" / "python"
            python.write_text(f'#!/bin/sh\necho {name} "$VIRTUAL_ENV" "$@"\n')
            python.chmod(0o755)
            needs = image_needs(PROFILES[name], load_facts())
            offers.append(Offer(profile=name, path=str(environment), needs=needs))
        script = self.root / "gpuenv-entry"
        script.write_text(entry_script(offers, root=str(self.root)))
        done = subprocess.run(
            [*self._shell, script, *words],
            env={"PATH": f"{self.programs}:/usr/bin:/bin", **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(params=SHELLS)
def container(tmp_path: Path, request: pytest.FixtureRequest) -> Container:
    return Container(tmp_path, request.param)


def ran(said: Said) -> str:
    assert said.code == 0, said.err
    return said.out.split()[0]


@pytest.mark.parametrize("form", [PROPRIETARY, OPEN])
@pytest.mark.parametrize(
    ("driver", "capabilities", "profile"),
    [
        ("580.95.05", "9.0", "cu13"),
        ("535.104.05", "9.0", "cu12"),
        ("580.95.05", "7.0", "cu12"),
        ("580.95.05", "9.0 7.0", "cu12"),
        ("579.99.9", "9.0", "cu12"),
        ("1000.1", "9.0", "cu13"),
    ],
)
def test_the_first_environment_that_driver_and_gpus_run_is_taken(
    container: Container, driver: str, capabilities: str, profile: str, form: str
) -> None:
    container.gpu(driver, capabilities, form)
    assert ran(container.run("cu13", "cu12")) == profile


def test_a_gpu_newer_than_the_tables_gets_the_newest_line(container: Container) -> None:
    container.gpu("999.1", "99.0")
    assert ran(container.run("cu13", "cu12")) == "cu13"


def test_the_version_is_found_in_the_modules_own_file(container: Container) -> None:
    container.gpu(None, "9.0")
    file = container.root / "sys/module/nvidia/version"
    file.parent.mkdir(parents=True)
    file.write_text("535.104.05\n")
    assert ran(container.run("cu13", "cu12")) == "cu12"


def test_under_wsl_nvidia_smi_tells_the_driver(container: Container) -> None:
    container.gpu(None, "9.0")
    assert ran(container.run("cu13", "cu12")) == "cu12"


def test_the_command_runs_with_the_environments_variables(container: Container) -> None:
    container.gpu("580.95.05", "9.0")
    said = container.run("cu13", words=("python", "-c", "a b"))
    assert said.out.strip() == f"cu13 {container.root}/with space/cu13 -c a b"
    assert container.run("cu13", words=("sh", "-c", "exit 7")).code == 7


def test_no_gpu_takes_the_cpus_environment_though_the_host_has_a_driver(
    container: Container,
) -> None:
    assert ran(container.run("cu13", "cpu")) == "cpu"
    container.driver("580.95.05")
    assert ran(container.run("cu13", "cpu")) == "cpu"


def test_a_driver_that_fits_nothing_is_an_error_and_never_the_cpu(container: Container) -> None:
    container.gpu("470.57.02", "8.0")
    said = container.run("cu13", "cu12", "cpu")
    assert (said.code, said.out) == (78, "")
    assert said.err.startswith("error: no environment of this image fits this host\n")
    assert "  cause: `cu13` needs driver >=580, host has `470.57.02`\n" in said.err
    assert "  cause: `cu12` needs driver >=525.60.13, host has `470.57.02`\n" in said.err
    assert "  cause: `cpu` uses no GPU, and there is one\n" in said.err
    assert "\n\nhint: GPUENV_PROFILE=" in said.err


def test_a_gpu_without_code_is_told(container: Container) -> None:
    container.gpu("580.95.05", "3.7")
    said = container.run("cu13", "cu12")
    assert said.code == 78
    assert "`cu12` has no code for compute capability `3.7`" in said.err


def test_without_nvidia_smi_nothing_is_guessed(container: Container) -> None:
    container.gpu("580.95.05", None)
    said = container.run("cu13")
    assert said.code == 78
    assert "nvidia-smi does not tell the GPU's" in said.err


def test_an_answer_that_is_no_capability_is_none(container: Container) -> None:
    container.gpu("580.95.05", "[N/A]")
    assert container.run("cu13").code == 78


def test_a_container_without_a_gpu_is_told_how_to_get_one(container: Container) -> None:
    said = container.run("cu13")
    assert said.code == 78
    assert "`cu13` needs a GPU, the container has none" in said.err
    assert "--gpus all" in said.err


def test_the_user_names_an_environment(container: Container) -> None:
    container.gpu("580.95.05", "9.0")
    assert ran(container.run("cu13", "cu12", GPUENV_PROFILE="cu12")) == "cu12"
    said = container.run("cu13", "cu12", GPUENV_PROFILE="cu11")
    assert said.code == 78
    assert "this image has no environment `cu11`" in said.err
    assert "`cu13` `cu12`" in said.err


def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("there is no shellcheck")
    needs = image_needs(PROFILES["cu12"], load_facts())
    script = tmp_path / "entry"
    script.write_text(entry_script([Offer(profile="cu12", path="/opt/it's", needs=needs)]))
    done = subprocess.run(
        ["shellcheck", "-s", "sh", script],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.stdout == ""
    assert done.returncode == 0
