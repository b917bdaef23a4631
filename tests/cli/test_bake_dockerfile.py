"""`gpuenv bake dockerfile`: built by buildah, with no network, and nothing left in a layer."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from provisioner.core.image_layers import LARGE_BYTES
from tests.cli.machine import Machine, without_network
from tests.cli.projects import H100, X86, Project
from tests.cli.test_projects import BUILD_SYSTEM, write_module
from tests.simulators.base_images import needs_programs
from tests.simulators.images import Image, run
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Locker
    from tests.simulators.index import IndexSimulator

OLD_DRIVER = f"driver=535.104.05,cuda=12.2,gpus=8.0,{X86}"


@pytest.fixture
def package(tmp_path: Path, index: IndexSimulator, locker: Locker) -> Path:
    """A locked project that is a package, with a large wheel."""
    index.publish(make_wheel(tmp_path / "wheels", "large", "1.0", size=LARGE_BYTES + 1))
    folder = Project(dependencies=("common", "large"), more=BUILD_SYSTEM).write(
        tmp_path / "app", index.index_url
    )
    write_module(folder, "app", "VALUE = 1\n")
    locker.lock(folder)
    return folder


def bake(machine: Machine, folder: Path, output: Path, *words: str) -> str:
    """The text of a Dockerfile that has to come about."""
    words = (*words, "--target", H100) if "--target" not in words else words
    done = machine.gpuenv(folder, "bake", "dockerfile", "--output", output, *words)
    assert done.code == 0, done.err
    return (output / "Dockerfile").read_text(encoding="utf-8")


def tree_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mode & 0o777, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_wheel_is_mounted_and_none_is_copied(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    text = bake(machine, package, tmp_path / "context", "--base", "python:3.11-slim")
    lines = text.splitlines()
    assert "FROM python:3.11-slim" in lines
    assert not [line for line in lines if line.startswith(("COPY", "ADD"))]
    assert not [word for word in ("rm ", "chown", "cache", str(tmp_path)) if word in text]
    files = tree_of(tmp_path / "context")
    wheels = {name: content for name, (_, content) in files.items() if name.endswith(".whl")}
    assert sorted(name.partition("/")[0] for name in wheels) == [
        *["packages-cu13"] * 3, "project-cu13", "wheels"
    ]  # fmt: skip
    for name, content in wheels.items():
        told = text + "".join(
            content.decode() for other, (_, content) in files.items() if "SHA256SUMS" in other
        )
        assert f"{hashlib.sha256(content).hexdigest()}  {name}" in told
    allowed = files[".dockerignore"][1].decode().split()
    assert allowed == ["*", "!installer", "!packages-cu13", "!project-cu13", "!wheels"]


def test_two_contexts_are_equal(machine: Machine, package: Path, tmp_path: Path) -> None:
    bake(machine, package, tmp_path / "one")
    bake(Machine(tmp_path / "other"), package, tmp_path / "two")
    assert tree_of(tmp_path / "one") == tree_of(tmp_path / "two")


def test_a_wheel_of_the_store_takes_no_room(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    bake(machine, package, tmp_path / "context")
    (large,) = (tmp_path / "context" / "wheels").iterdir()
    assert large.stat().st_nlink > 1


def test_a_context_of_gpuenv_is_replaced_and_no_other_folder(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    output = tmp_path / "context"
    bake(machine, package, output)
    (output / "left").touch()
    bake(machine, package, output)
    assert not (output / "left").exists()
    (output / "Dockerfile").write_text("FROM mine\n", encoding="utf-8")
    done = machine.gpuenv(package, "bake", "dockerfile", "-o", output, "--target", H100)
    assert done.code == 1
    assert str(output) in done.message.error
    assert (output / "Dockerfile").read_text(encoding="utf-8") == "FROM mine\n"


@pytest.mark.parametrize("base", ["a b", "x;y", "UPPER", "a:b:c", "$BASE"])
def test_a_base_that_is_no_name_is_2(
    machine: Machine, package: Path, tmp_path: Path, base: str
) -> None:
    done = machine.gpuenv(
        package, "bake", "dockerfile", "-o", tmp_path / "context", "--base", base, "--target", H100
    )
    assert done.code == 2
    assert "no name of an image" in done.message.causes[0]


def test_without_a_gpu_or_a_target_the_options_are_named(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    given = {"GPUENV_ROOT": str(tmp_path / "root")}
    done = machine.gpuenv(package, "bake", "dockerfile", "-o", tmp_path / "context", given=given)
    assert done.code == 2
    assert "--target" in (done.message.hint or "")
    assert not (tmp_path / "context").exists()


def test_a_read_only_place_is_told(machine: Machine, package: Path, tmp_path: Path) -> None:
    output = tmp_path / "no" / "where"
    done = machine.gpuenv(package, "bake", "dockerfile", "-o", output, "--target", H100)
    assert done.code == 1
    assert done.message.hint == f"`mkdir -p {tmp_path}/no`"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How buildah is called, with a base of this machine's own files, in a storage of the tests."""
    needs_programs("buildah")
    if os.geteuid():
        pytest.skip("buildah's chroot isolation is tried as root")
    root = tmp_path_factory.mktemp("buildah")
    words = ["buildah", "--root", f"{root}/storage", "--runroot", f"{root}/run"]
    words += ["--storage-driver", "vfs"]
    from tests.simulators.base_images import debian_base

    layout = debian_base(root / "debian")
    target = f"containers-storage:[vfs@{root}/storage+{root}/run]localhost/base:1"
    run("skopeo", "copy", f"oci:{layout}:bookworm", target)
    return words


def built(storage: list[str], context: Path, output: Path) -> Image:
    """The image that buildah makes without a network."""
    words = ["build", "--isolation", "chroot", "--pull-never", "-t", "built", str(context)]
    run(*without_network(), *storage, *words)
    run(*storage, "push", "built", f"oci:{output}:latest")
    return Image(output)


def test_buildah_builds_it_without_a_network_and_leaves_nothing(
    machine: Machine, package: Path, tmp_path: Path, storage: list[str]
) -> None:
    words = ("--base", "localhost/base:1")
    text = bake(machine, package, tmp_path / "context", *words)
    assert text.count("RUN ") == 4
    image = built(storage, tmp_path / "context", tmp_path / "built")
    files = image.files()
    site = "opt/gpuenv/lib/python3.11/site-packages"
    assert files[f"{site}/app/__init__.py"] == b"VALUE = 1\n"
    assert files[f"{site}/lean/__init__.py"] == b'LINE = "cu13"\n'
    added = [path for layer in image.members()[1:] for path in layer]
    assert not [path for path in added if path.endswith((".whl", ".pyc")) or "cache" in path]
    for layer in image.members()[1:]:
        assert {(member.uid, member.gid) for member in layer.values()} == {(0, 0)}
    baked = tmp_path / "image"
    done = machine.gpuenv(package, "bake", "image", "-o", baked, "--target", H100)
    assert done.code == 0, done.err
    # As `bake image` has it: the same variables, and the same files of packages.
    assert (
        Image(baked).variables.items()
        <= {
            **image.variables,
            "PATH": Image(baked).variables["PATH"],
        }.items()
    )
    installed = {
        path: content
        for path, content in files.items()
        if path.startswith(site) and "dist-info" not in path
    }
    assert (
        installed.items()
        == {
            path: content
            for path, content in Image(baked).files().items()
            if path.startswith(site) and "dist-info" not in path
        }.items()
    )


def test_a_wheel_that_was_changed_in_the_context_is_not_installed(
    machine: Machine, package: Path, tmp_path: Path, storage: list[str]
) -> None:
    bake(machine, package, tmp_path / "context", "--base", "localhost/base:1")
    (large,) = (tmp_path / "context" / "wheels").iterdir()
    content = large.read_bytes()
    large.unlink()
    large.write_bytes(content + b"x")
    done = subprocess.run(
        [*storage, "build", "--isolation", "chroot", "--pull-never", tmp_path / "context"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "did NOT match" in done.stderr


def test_several_targets_get_the_entry_point(
    machine: Machine, package: Path, tmp_path: Path, storage: list[str]
) -> None:
    words = ("--target", OLD_DRIVER, "--target", H100, "--base", "localhost/base:1")
    bake(machine, package, tmp_path / "context", *words)
    image = built(storage, tmp_path / "context", tmp_path / "built")
    assert image.config["config"]["Entrypoint"] == ["/opt/gpuenv/bin/gpuenv-entry"]
    files = image.files()
    assert b"offer" in files["opt/gpuenv/bin/gpuenv-entry"]
    for line in ("cu12", "cu13"):
        path = f"opt/gpuenv/{line}/lib/python3.11/site-packages/lean/__init__.py"
        assert files[path] == f'LINE = "{line}"\n'.encode()
