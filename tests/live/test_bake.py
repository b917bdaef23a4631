"""The example in a container's root and in a registry, baked without GPU, daemon or network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine
from tests.live.test_example import EXAMPLE, TARGET, reaching
from tests.simulators.base_images import debian_base, needs_programs
from tests.simulators.images import Image, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with Python 3.11."""
    return debian_base(tmp_path_factory.mktemp("debian") / "base")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, Path]:
    """The example, prepared on a machine that need not have a GPU."""
    root = tmp_path_factory.mktemp("held")
    machine = Machine(root / "machine", **reaching())
    folder = root / "tensorrt-lean"
    folder.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    words = ("--target", TARGET, "--python", "3.11")
    done = machine.gpuenv(folder, "prepare", "--only", *words)
    assert done.code == 0, done.err
    return machine, folder


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A registry on loopback, and what it tells of every request."""
    needs_programs("docker-registry", "skopeo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "registry").mkdir()
    settings = tmp_path / "registry.yml"
    settings.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: '{address}'}}\n",
        encoding="utf-8",
    )
    log = tmp_path / "registry.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            ["docker-registry", "serve", settings], stdout=file, stderr=file
        ) as process,
    ):
        try:
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"http://{address}/v2/", timeout=1)
                    break
                except OSError:
                    time.sleep(0.1)
            yield address, log
        finally:
            process.terminate()


def bake(held: tuple[Machine, Path], output: Path, *words: str | Path) -> Image:
    """Bake the example without a network."""
    machine, folder = held
    done = machine.gpuenv(
        folder, "bake", "image", "--offline", "-o", output, "--target", TARGET, *words,
        network=False,
    )  # fmt: skip
    assert done.code == 0, done.err
    return Image(output)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_the_baked_example_runs_in_its_root(
    held: tuple[Machine, Path], debian: Path, tmp_path: Path, compression: str
) -> None:
    needs_programs("skopeo", "umoci")
    base = f"{debian}:bookworm"
    image = bake(held, tmp_path / "image", "--base", base, "--compression", compression)
    run("skopeo", "inspect", f"oci:{image.layout}:latest")
    gzipped = tmp_path / "copy"
    # umoci of Debian 12 knows no zstd; skopeo makes gzip of it.
    words = ("--dest-compress-format", "gzip", "--dest-compress") if compression == "zstd" else ()
    run("skopeo", "copy", *words, f"oci:{image.layout}:latest", f"oci:{gzipped}:latest")
    run("umoci", "unpack", "--image", f"{gzipped}:latest", tmp_path / "bundle")
    code = "import tensorrt_lean, sys; print(tensorrt_lean.__version__, sys.prefix)"
    done = run("chroot", tmp_path / "bundle/rootfs", "/opt/gpuenv/bin/python", "-c", code)
    assert done.stdout == "10.16.1.11 /opt/gpuenv\n"


def test_a_registry_gets_one_layer_where_one_wheel_has_changed(
    held: tuple[Machine, Path], tmp_path: Path, registry: tuple[str, Path]
) -> None:
    address, log = registry

    def sent(image: Image) -> set[str]:
        """Copy an image there, and tell the blobs that were sent."""
        before = len(log.read_text(encoding="utf-8"))
        run(
            *("skopeo", "copy", "--dest-tls-verify=false", f"oci:{image.layout}:latest"),
            f"docker://{address}/example:latest",
        )
        told = log.read_text(encoding="utf-8")[before:]
        names = {digest.removeprefix("sha256:") for digest in image.layers}
        return {
            name for line in told.splitlines() for name in names if "PUT" in line and name in line
        }

    machine, folder = held
    first = bake(held, tmp_path / "first")
    assert len(sent(first)) == len(first.layers)
    changed = tmp_path / "changed"
    changed.mkdir()
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copyfile(folder / name, changed / name)
    lock = changed / "uv.lock"
    done = machine.uv(changed, "lock", "--upgrade-package", "certifi==2025.1.31")
    assert done.code == 0, done.err
    assert lock.read_bytes() != (folder / "uv.lock").read_bytes()
    done = machine.gpuenv(changed, "prepare", "--only", "--target", TARGET)
    assert done.code == 0, done.err
    second = bake((machine, changed), tmp_path / "second")
    gone = set(second.layers) - set(first.layers)
    assert len(gone) == 1
    assert sent(second) == {digest.removeprefix("sha256:") for digest in gone}
    assert os.listdir(tmp_path / "registry")  # noqa: PTH208 - it has kept something
