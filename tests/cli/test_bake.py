"""`gpuenv bake image`: what is in an image, that it is the same everywhere, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.core.image_layers import LARGE_BYTES
from tests.cli.machine import GPUENV, Machine
from tests.cli.projects import H100, H100_OLD_DRIVER, TARGET, X86, Project
from tests.cli.test_projects import BUILD_SYSTEM, write_module
from tests.simulators.base_images import needs_programs, tar_of, write_base
from tests.simulators.images import Image, run
from tests.simulators.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from tests.cli.conftest import Locker
    from tests.simulators.index import IndexSimulator

OLD_DRIVER = f"driver=535.104.05,cuda=12.2,gpus=8.0,{X86}"
SITE = "opt/gpuenv/lib/python3.11/site-packages"


@pytest.fixture
def package(tmp_path: Path, index: IndexSimulator, locker: Locker) -> Path:
    """A locked project that is a package, with a large wheel and a command."""
    index.publish(make_wheel(tmp_path / "wheels", "large", "1.0", size=LARGE_BYTES + 1))
    index.publish(
        make_wheel(
            tmp_path / "wheels",
            "tool",
            "1.0",
            files={
                "tool/deep/" + "x" * 120 + ".py": b"VALUE = 1\n",
                "tool-1.0.data/scripts/old-tool": b"#!python\nprint('old')\n",
                "tool-1.0.data/data/share/tool.txt": b"data\n",
                "tool-1.0.data/headers/tool.h": b"// header\n",
                "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\ntool = tool:main\n",
            },
        )
    )
    project = Project(dependencies=("common", "large", "tool"), more=BUILD_SYSTEM)
    folder = project.write(tmp_path / "app", index.index_url)
    write_module(folder, "app", "VALUE = 1\n")
    locker.lock(folder)
    return folder


def bake(
    machine: Machine, folder: Path, output: Path, *words: str | Path, network: bool = True
) -> Image:
    """Bake an image that has to come about."""
    words = (*words, "--target", H100) if "--target" not in words else words
    done = machine.gpuenv(folder, "bake", "image", "--output", output, *words, network=network)
    assert done.code == 0, done.err
    return Image(output)


def test_an_image_has_the_environment_and_nothing_of_the_machine(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", config={"Env": ["PATH=/usr/bin"], "Cmd": ["sh"]})
    image = bake(machine, package, tmp_path / "image", "--base", f"oci:{base}:latest")
    files = image.files()
    assert files["opt/gpuenv/pyvenv.cfg"] == (
        b"home = /usr/bin\ninclude-system-site-packages = false\nversion_info = 3.11\n"
    )
    assert files[f"{SITE}/lean/__init__.py"] == b'LINE = "cu13"\n'
    assert files[f"{SITE}/app/__init__.py"] == b"VALUE = 1\n"
    assert files["opt/gpuenv/bin/old-tool"].startswith(b"#!/opt/gpuenv/bin/python\n")
    assert files["opt/gpuenv/bin/tool"].startswith(b"#!/opt/gpuenv/bin/python\n")
    assert files["opt/gpuenv/share/tool.txt"] == b"data\n"
    assert files["opt/gpuenv/include/site/python3.11/tool/tool.h"] == b"// header\n"
    assert not [path for path in files if "direct_url" in path or path.endswith((".pth", ".pyc"))]
    for name in ("app-0.1.0", "tool-1.0", "stub_cu13-1.0"):
        rows = files[f"{SITE}/{name}.dist-info/RECORD"].decode().splitlines()
        for row in rows:
            path, told, size = row.rsplit(",", 2)
            found = files[os.path.normpath(f"{SITE}/{path}")]
            if told:
                assert len(found) == int(size)
                assert told.startswith("sha256=")
    assert image.variables == {
        "PATH": "/opt/gpuenv/bin:/usr/bin",
        "VIRTUAL_ENV": "/opt/gpuenv",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        "NVIDIA_REQUIRE_CUDA": "cuda>=13.0",
    }
    assert image.config["config"]["Cmd"] == ["sh"]
    lock = hashlib.sha256((package / "uv.lock").read_bytes()).hexdigest()
    labels = image.config["config"]["Labels"]
    assert labels["gpuenv.lock"] == f"sha256:{lock}"
    assert labels["gpuenv.target"] == (
        "driver=580.95.05,cuda=13.0,gpus=9.0,machine=x86_64,glibc=2.35,python=3.11"
    )
    assert labels["org.opencontainers.image.base.digest"] == Image(base).digest


def test_a_project_that_is_no_package_is_told(machine: Machine, app: Path, tmp_path: Path) -> None:
    words = ("bake", "image", "-o", tmp_path / "image", "--target", H100)
    done = machine.gpuenv(app, *words)
    assert "note: `app` is no package that can be built: its own files are not in it" in done.out


def test_layers_are_of_large_wheels_of_small_ones_and_of_the_rest(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    image = bake(machine, package, tmp_path / "image")
    told = [
        item["created_by"].removeprefix("gpuenv bake image: ") for item in image.config["history"]
    ]
    assert told == ["large 1.0", "4 packages", "environment cu13, app 0.1.0"]
    large, small, rest = image.members()
    assert f"{SITE}/large/padding.bin" in large
    assert f"{SITE}/common/__init__.py" in small
    assert f"{SITE}/app/__init__.py" in rest
    for members in (large, small, rest):
        assert list(members) == sorted(members, key=lambda name: name.split("/"))
        for member in members.values():
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.mtime == 315_532_800
            assert member.mode in ({0o755} if member.isdir() else {0o644, 0o755, 0o777})
    python = rest["opt/gpuenv/bin/python"]
    assert (python.issym(), python.linkname) == (True, "/usr/local/bin/python3.11")


def test_changing_one_wheel_changes_one_layer(
    machine: Machine, package: Path, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    first = bake(machine, package, tmp_path / "first")
    index.publish(make_wheel(tmp_path / "wheels", "large", "1.1", size=LARGE_BYTES + 1))
    text = (package / "pyproject.toml").read_text(encoding="utf-8")
    (package / "pyproject.toml").write_text(text.replace('"large"', '"large==1.1"'), "utf-8")
    (package / "uv.lock").unlink()
    locker.lock(package)
    data = machine.gpuenv(
        package, "bake", "image", "--json", "--output", tmp_path / "second", "--target", H100
    ).data
    second = Image(tmp_path / "second")
    differ = [one != other for one, other in zip(first.layers, second.layers, strict=True)]
    # The project's own metadata names the version that it asks for.
    assert differ == [True, False, True]
    assert [item["reused"] for item in data["layers"]] == [False, True, False]


def test_a_second_bake_compresses_no_package_and_asks_nothing(
    machine: Machine, package: Path, tmp_path: Path, index: IndexSimulator
) -> None:
    first = bake(machine, package, tmp_path / "image")
    index.reset_log()
    write_module(package, "app", "VALUE = 2\n")
    done = machine.gpuenv(
        package,
        "bake",
        "image",
        "--json",
        "-o",
        tmp_path / "image",
        "--target",
        H100,
        network=False,
    )
    assert [item["reused"] for item in done.data["layers"]] == [True, True, False]
    again = Image(tmp_path / "image")
    assert again.layers[:2] == first.layers[:2]
    assert again.files()[f"{SITE}/app/__init__.py"] == b"VALUE = 2\n"
    # What nothing leads to any more is gone.
    blobs = {path.name for path in (tmp_path / "image/blobs/sha256").iterdir()}
    assert len(blobs) == len(again.layers) + 2


def test_two_users_make_the_same_image(package: Path, tmp_path: Path) -> None:
    """Another user, umask, zone, clock, folder, home, store and cache."""
    digests = set()
    others = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    if subprocess.run([*others, "true"], capture_output=True, check=False).returncode:
        others = []  # This user may not be another one; the rest differs even so.
    clock = ["faketime", "-f", "+400d"] if shutil.which("faketime") else []
    for number, (before, umask, zone, language) in enumerate(
        [([], "022", "UTC", "C"), ([*others, *clock], "077", "Asia/Tokyo", "de_DE.UTF-8")]
    ):
        root = tmp_path / f"place {number}"
        machine = Machine(root / "machine", TZ=zone, LC_ALL=language, PYTHONHASHSEED=str(number))
        folder = root / ("deep/" * number) / "app"
        shutil.copytree(package, folder)
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() or number else 0o600)
            os.utime(path, (number * 1e8, number * 1e8))
        words = ["bake", "image", "-o", str(root / "image"), "--target", H100]
        shell = ["sh", "-c", f'umask {umask}; exec "$@"', "sh"]
        done = machine.run(folder, *before, *shell, *GPUENV, *words)
        assert done.code == 0, done.err
        digests.add(Image(root / "image").digest)
        time.sleep(1.1)
    assert len(digests) == 1


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_no_secret_and_no_path_is_in_any_layer(
    machine: Machine, package: Path, tmp_path: Path, compression: str
) -> None:
    (package / ".env").write_text("TOKEN=hunter2", encoding="utf-8")
    (machine.home / ".netrc").write_text("machine 127.0.0.1 login me password hunter2", "utf-8")
    given = {"SECRET_TOKEN": "hunter2", "UV_INDEX_SIMULATOR_PASSWORD": "hunter2"}
    done = machine.gpuenv(
        package, "bake", "image", "-o", tmp_path / "image", "--target", H100,
        "--compression", compression, given=given,
    )  # fmt: skip
    assert done.code == 0, done.err
    image = Image(tmp_path / "image")
    texts = [*image.archives(), image.blob(image.digest), json.dumps(image.config).encode()]
    texts.append((tmp_path / "image/index.json").read_bytes())
    hidden = [b"hunter2", str(tmp_path).encode(), b"uv-cache", b"/home/"]
    for text in texts:
        assert not [word for word in hidden if word in text]
    assert not [path for path in image.files() if "cache" in path]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_archive_has_what_a_folder_has(
    machine: Machine, package: Path, tmp_path: Path, compression: str
) -> None:
    words = ("--compression", compression, "--tag", "v1")
    data = machine.gpuenv(
        package, "bake", "image", "--json", "-o", tmp_path / "image.tar", "--target", H100, *words
    ).data
    assert data["image"] == f"oci-archive:{tmp_path}/image.tar:v1"
    bake(machine, package, tmp_path / "image", *words)
    with tarfile.open(tmp_path / "image.tar") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert Image(tmp_path / "unpacked", "v1").digest == Image(tmp_path / "image", "v1").digest
    assert Image(tmp_path / "unpacked", "v1").archives()
    before = (tmp_path / "image.tar").read_bytes()
    assert data["digest"] == Image(tmp_path / "image", "v1").digest
    again = machine.gpuenv(
        package, "bake", "image", "-o", tmp_path / "image.tar", "--target", H100, *words
    )
    assert again.code == 0, again.err
    assert (tmp_path / "image.tar").read_bytes() == before


def test_a_folder_takes_images_of_several_tags(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    output = tmp_path / "images"
    for tag, target in (("new", H100), ("old", OLD_DRIVER)):
        bake(machine, package, output, "--tag", tag, "--target", target)
    new, old = Image(output, "new"), Image(output, "old")
    assert new.files()[f"{SITE}/lean/__init__.py"] == b'LINE = "cu13"\n'
    assert old.files()[f"{SITE}/lean/__init__.py"] == b'LINE = "cu12"\n'
    # The large wheel, which both have, is there once.
    assert new.layers[0] == old.layers[0]
    assert new.layers[1] != old.layers[1]


def test_an_image_of_several_targets_has_an_environment_for_each_profile(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", config={"Entrypoint": ["/init"], "Cmd": ["serve"]})
    image = bake(
        machine, package, tmp_path / "image", "--base", base,
        "--target", OLD_DRIVER, "--target", H100,
    )  # fmt: skip
    files = image.files()
    for line in ("cu12", "cu13"):
        site = f"opt/gpuenv/{line}/lib/python3.11/site-packages"
        assert files[f"{site}/lean/__init__.py"] == f'LINE = "{line}"\n'.encode()
    assert image.config["config"]["Entrypoint"] == ["/opt/gpuenv/bin/gpuenv-entry", "/init"]
    assert image.config["config"]["Cmd"] == ["serve"]
    assert image.variables["NVIDIA_REQUIRE_CUDA"] == "cuda>=12.0"
    assert "VIRTUAL_ENV" not in image.variables
    script = files["opt/gpuenv/bin/gpuenv-entry"].decode()
    offers = [line for line in script.splitlines() if line.startswith("offer ")]
    assert [line.split()[1] for line in offers] == ["cu13", "cu12"]


def test_a_source_distribution_is_built_once_and_kept(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    bake(machine, package, tmp_path / "one")
    built = machine.built()
    assert built == ["build_wheel app 0.1.0", "build_wheel stub-cu13 1.0"]
    bake(machine, package, tmp_path / "two", "--compression", "zstd")
    # The project may have changed, and is built each time.
    assert machine.built() == ["build_wheel app 0.1.0", *built]


def test_what_prepare_has_built_is_not_built_again(
    machine: Machine, package: Path, tmp_path: Path, index: IndexSimulator
) -> None:
    assert machine.gpuenv(package, "prepare", "--target", TARGET).code == 0
    built = machine.built()
    index.reset_log()
    bake(machine, package, tmp_path / "image", "--target", TARGET, "--offline", network=False)
    assert machine.built() == sorted([*built, "build_wheel app 0.1.0"])
    assert index.requests == []


@pytest.fixture
def mixed(tmp_path: Path, index: IndexSimulator, locker: Locker) -> Path:
    """A project with source distributions whose wheels are for this machine alone."""
    index.publish(make_sdist(tmp_path / "wheels", "native", "1.0"))
    folder = Project(dependencies=("native",)).write(tmp_path / "app", index.index_url)
    locker.lock(folder)
    return folder


def test_an_environment_that_was_changed_changes_no_image(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    """Large files that lie unpacked are taken from there, if they are the wheel's."""
    words = ("--compression", "zstd", "--target", TARGET)
    first = bake(machine, package, tmp_path / "first", *words)
    assert machine.gpuenv(package, "prepare", "--target", TARGET).code == 0
    (padding,) = (package / ".venv").glob("lib/python3*/site-packages/large/padding.bin")
    for change in (None, b"x"):
        if change:
            content = padding.read_bytes()
            padding.unlink()
            padding.write_bytes(content[:-1] + change)
        shutil.rmtree(machine.store / "layers")
        again = bake(machine, package, tmp_path / f"again {change!r}", *words)
        assert again.digest == first.digest


def test_a_pure_source_distribution_is_baked_for_another_kind_of_machine(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    target = "driver=580.95.05,cuda=13.0,gpus=9.0,machine=aarch64,glibc=2.35,python=3.12"
    image = bake(machine, package, tmp_path / "image", "--target", target)
    assert image.config["architecture"] == "arm64"
    assert "opt/gpuenv/lib/python3.12/site-packages/stub_cu13/__init__.py" in image.files()


def test_a_python_that_uv_has_installed_is_put_in_where_the_base_has_none(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    """It names its new place, and what it was compiled for no other."""
    name = f"cpython-{platform.python_version()}-linux-{platform.machine()}-gnu"
    folder = tmp_path / "pythons" / name
    short = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "bin").mkdir(parents=True)
    shutil.copy2(os.path.realpath(sys.executable), folder / "bin" / short)
    (folder / "bin" / "python3").symlink_to(short)
    (folder / "bin" / "tool").write_text(f"#!{folder}/bin/{short}\n", encoding="utf-8")
    library = Path(sys.base_prefix) / "lib" / short
    shutil.copytree(
        library,
        folder / "lib" / short,
        symlinks=True,
        ignore=shutil.ignore_patterns("test", "site-packages", "config-*", "idlelib"),
    )
    given = {"UV_PYTHON_INSTALL_DIR": str(tmp_path / "pythons"), "UV_PYTHON_PREFERENCE": "managed"}
    base = base_of(tmp_path, pythons=())
    words = ("bake", "image", "--base", base, "--target", H100)
    digests = []
    for output in ("one", "two"):
        done = machine.gpuenv(package, *words, "-o", tmp_path / output, "--json", given=given)
        assert done.code == 0, done.err
        image = Image(tmp_path / output)
        digests.append(image.digest)
    assert digests[0] == digests[1]
    reused = {
        item["created_by"].rpartition(": ")[2]: item["reused"] for item in done.data["layers"]
    }
    assert reused[name] is True
    files = image.files()
    assert files[f"opt/python/{name}/bin/tool"] == f"#!/opt/python/{name}/bin/{short}\n".encode()
    links = {path: item.linkname for one in image.members() for path, item in one.items()}
    assert links["opt/gpuenv/bin/python"] == f"/opt/python/{name}/bin/{short}"
    for archive in image.archives()[1:]:
        assert str(tmp_path).encode() not in archive
    assert not [path for path in files if path.endswith(".pyc")]


def test_without_a_gpu_or_a_target_the_options_are_named(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    root = tmp_path / "no-gpu"
    root.mkdir()
    given = {"GPUENV_ROOT": str(root), "CUDA_HOME": "/usr/local/cuda", "CUDA_VERSION": "13.0"}
    done = machine.gpuenv(package, "bake", "image", "-o", tmp_path / "image", given=given)
    assert done.code == 2
    assert "nothing says what to bake for" in done.message.error
    hint = done.message.hint or ""
    assert all(word in hint for word in ("--target", "detect --save", "--profile cpu"))
    done = machine.gpuenv(
        package, "bake", "image", "-o", tmp_path / "image", "--profile", "cpu",
        "--base", base_of(tmp_path), given=given,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "NVIDIA_VISIBLE_DEVICES" not in Image(tmp_path / "image").variables


def base_of(tmp_path: Path, **kind: object) -> Path:
    return write_base(tmp_path / "base", **kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "error", "causes"),
    [
        ({"machine": "aarch64"}, "the base is for another kind of machine", "`aarch64`"),
        (
            {"pythons": ("usr/bin/python3.9",)},
            "the base has no Python `3.11`",
            "/usr/bin/python3.9",
        ),
        ({"pythons": ()}, "the base has no Python `3.11`", "none"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_with_both(  # noqa: PLR0913, PLR0917 - fixtures
    machine: Machine,
    package: Path,
    tmp_path: Path,
    kind: dict[str, object],
    error: str,
    causes: str,
) -> None:
    base = base_of(tmp_path, **kind)
    done = machine.gpuenv(
        package, "bake", "image", "-o", tmp_path / "image", "--base", base, "--target", H100
    )
    assert done.code == 1
    assert error in done.message.error
    assert causes in "\n".join(done.message.causes)
    assert not (tmp_path / "image").exists()
    assert not list(tmp_path.glob(".image*"))


def test_a_base_with_an_older_c_library_is_refused_by_the_files_that_need_a_newer(
    machine: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    index.publish(make_wheel(tmp_path, "fresh", "1.0", tag="py3-none-manylinux_2_34_x86_64"))
    folder = Project(dependencies=("fresh",)).write(tmp_path / "app", index.index_url)
    locker.lock(folder)
    base = base_of(tmp_path, libc=("glibc", "2.31"))
    words = ("bake", "image", "-o", tmp_path / "image", "--base", base, "--target", H100)
    done = machine.gpuenv(folder, *words)
    assert done.code == 1
    assert "glibc `2.31`" in done.message.error
    assert any("fresh-1.0" in cause for cause in done.message.causes)
    assert "glibc=2.31" in (done.message.hint or "")
    # The older library does where nothing needs more.
    (tmp_path / "base" / "index.json").unlink()
    base_of(tmp_path, libc=("glibc", "2.34"))
    assert machine.gpuenv(folder, *words).code == 0


@pytest.mark.parametrize("name", ["python:3.12-slim", "nvidia/cuda:12.8.0-base-ubuntu24.04"])
def test_the_name_of_an_image_is_told_how_to_become_a_base(
    machine: Machine, package: Path, tmp_path: Path, name: str
) -> None:
    words = ("bake", "image", "-o", tmp_path / "image", "--base", name, "--target", H100)
    done = machine.gpuenv(package, *words)
    assert done.code == 1
    assert f"`skopeo copy docker://{name} oci:DIR:TAG`" in (done.message.hint or "")


def test_what_a_bake_has_built_is_collected_only_with_its_source(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    bake(machine, package, tmp_path / "image")
    before = machine.blobs()
    assert machine.gpuenv(package, "store", "gc").code == 0
    assert machine.blobs() == before
    shutil.rmtree(package / ".gpuenv")
    shutil.rmtree(package)
    assert machine.gpuenv(tmp_path, "store", "gc").code == 0
    assert machine.blobs() == set()


def test_a_base_whose_digests_lie_is_refused(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    base = base_of(tmp_path)
    (layer,) = Image(base).layers
    path = base / "blobs" / "sha256" / layer.removeprefix("sha256:")
    content = path.read_bytes()
    path.write_bytes(content[:-9] + b"x" + content[-8:])
    done = machine.gpuenv(
        package, "bake", "image", "-o", tmp_path / "image", "--base", base, "--target", H100
    )
    assert done.code == 4
    assert layer.removeprefix("sha256:") in done.message.causes[0]
    assert not (tmp_path / "image").exists()


def test_a_base_that_changes_after_it_was_known_is_looked_into_again(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    base = base_of(tmp_path)
    bake(machine, package, tmp_path / "image", "--base", base)
    (layer,) = Image(base).layers
    path = base / "blobs" / "sha256" / layer.removeprefix("sha256:")
    path.write_bytes(path.read_bytes()[::-1])
    done = machine.gpuenv(
        package, "bake", "image", "-o", tmp_path / "other", "--base", base, "--target", H100
    )
    assert done.code == 4


@pytest.mark.parametrize("kind", ["link", "device"])
def test_what_stands_in_the_way_in_a_base_is_told(
    machine: Machine, package: Path, tmp_path: Path, kind: str
) -> None:
    device = tarfile.TarInfo("opt")
    device.type = tarfile.CHRTYPE
    files = {"usr/bin/python3.11": b"x"}
    odd = tar_of(files, {"opt": "/data"}) if kind == "link" else tar_of(files, {}, [device])
    base = base_of(tmp_path, layers=[odd])
    words = ("bake", "image", "-o", tmp_path / "image", "--base", base, "--target", H100)
    done = machine.gpuenv(package, *words)
    assert done.code == 1
    assert "`/opt` is" in done.message.causes[0]
    assert "--root" in (done.message.hint or "")
    done = machine.gpuenv(package, *words, "--root", "/srv/app")
    assert done.code == 0, done.err
    assert Image(tmp_path / "image").variables["VIRTUAL_ENV"] == "/srv/app"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("where", ["output", "store"])
def test_a_full_disk_leaves_no_image(
    machine: Machine, package: Path, tmp_path: Path, where: str, compression: str
) -> None:
    if compression == "zstd":
        # So that large files are taken from where they lie unpacked.
        assert machine.gpuenv(package, "prepare", "--target", TARGET).code == 0
    small = machine.store / "layers" if where == "store" else tmp_path / "small"
    small.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        output = small / "image" if where == "output" else tmp_path / "image"
        words = ("bake", "image", "-o", output, "--target", TARGET, "--compression", compression)
        done = machine.gpuenv(package, *words)
        assert done.code == 5
        assert str(small) in done.message.error
        # Layers that were complete are kept, and nothing else.
        assert not list(small.glob(".*"))
        assert not list(output.parent.glob("*image*"))
    finally:
        run("umount", small)


def test_an_output_that_is_a_mount_takes_an_image(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    """As a volume of a container is."""
    output = tmp_path / "volume"
    output.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=50m", "none", str(output)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        for _ in range(2):
            assert bake(machine, package, output).archives()
        assert sorted(path.name for path in output.iterdir()) == [
            "blobs", "index.json", "oci-layout"
        ]  # fmt: skip
    finally:
        run("umount", output)


def test_a_read_only_store_bakes_what_it_holds(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes a file system read-only")
    assert machine.gpuenv(package, "prepare", "--fetch-only", "--target", H100).code == 0
    bake(machine, package, tmp_path / "before")
    shutil.rmtree(machine.store / "layers")
    if subprocess.run(["mount", "--bind", machine.store, machine.store], check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        run("mount", "-o", "remount,ro,bind", machine.store)
        image = bake(machine, package, tmp_path / "image")
    finally:
        run("umount", machine.store)
    assert image.digest == Image(tmp_path / "before").digest


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--tag", "a b"), "`a b` is no tag"),
        (("--level", "30"), "levels 1 to 9"),
        (("--compression", "zstd", "--level", "0"), "levels 1 to 19"),
        (("--root", "opt"), "`--root opt`"),
        (("--root", "/"), "below `/`"),
        (("--root", "/a/../b"), "`--root /a/../b`"),
        (("--interpreter", "python3"), "`--interpreter python3`"),
    ],
)
def test_an_option_that_cannot_be_is_2(
    machine: Machine, package: Path, tmp_path: Path, words: tuple[str, ...], error: str
) -> None:
    done = machine.gpuenv(
        package, "bake", "image", "-o", tmp_path / "image", "--target", H100, *words
    )
    assert done.code == 2
    assert error in "\n".join(done.message.causes)


@pytest.mark.parametrize("given", ["file", "folder", "nowhere"])
def test_an_output_that_cannot_be_is_told_before_anything_is_made(
    machine: Machine, package: Path, tmp_path: Path, given: str
) -> None:
    output = tmp_path / "taken"
    if given == "file":
        output.write_text("mine", encoding="utf-8")
    elif given == "folder":
        output.mkdir()
        (output / "mine").touch()
    else:
        output = tmp_path / "no" / "where"
    done = machine.gpuenv(package, "bake", "image", "-o", output, "--target", H100)
    assert done.code == 1
    assert str(output.parent if given == "nowhere" else output) in done.message.error
    assert machine.blobs() == set()


def test_targets_of_two_pythons_need_two_images(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    other = H100.replace("python=3.11", "python=3.12")
    words = ("bake", "image", "-o", tmp_path / "image", "--target", H100, "--target", other)
    done = machine.gpuenv(package, *words)
    assert done.code == 2
    assert done.message.causes == ("one needs `3.11`, another one `3.12`",)


def test_targets_of_two_kinds_of_machines_need_two_images(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    arm = H100_OLD_DRIVER.replace("x86_64", "aarch64")
    done = machine.gpuenv(
        package, "bake", "image", "-o", tmp_path / "image", "--target", H100, "--target", arm
    )
    assert done.code == 2
    assert done.message.causes == ("a target is `aarch64`", "a target is `x86_64`")


def test_the_tools_of_others_take_an_image(machine: Machine, package: Path, tmp_path: Path) -> None:
    needs_programs("skopeo", "umoci")
    image = bake(machine, package, tmp_path / "image", "--base", base_of(tmp_path))
    told = json.loads(run("skopeo", "inspect", f"oci:{image.layout}:latest").stdout)
    assert told["Layers"] == image.layers
    run("skopeo", "copy", f"oci:{image.layout}:latest", f"oci-archive:{tmp_path}/copy.tar")
    run("umoci", "stat", "--image", f"{image.layout}:latest")
    if os.geteuid() == 0:
        run("umoci", "unpack", "--image", f"{image.layout}:latest", tmp_path / "bundle")
        assert (tmp_path / "bundle/rootfs" / SITE / "app/__init__.py").read_text() == "VALUE = 1\n"


def test_layers_are_collected_when_they_were_long_not_used(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    image = bake(machine, package, tmp_path / "image")
    info = machine.gpuenv(package, "store", "info", "--json").data
    assert info["layers"]["bytes"] > LARGE_BYTES
    assert machine.gpuenv(package, "store", "gc").code == 0
    assert len(list((machine.store / "layers").glob("*.json"))) == 2
    old = time.time() - 40 * 86400
    for path in (machine.store / "layers").iterdir():
        os.utime(path, (old, old))
    done = machine.gpuenv(package, "store", "gc", "--json")
    assert done.data["removed"]["layers"]["count"] == 2
    assert list((machine.store / "layers").iterdir()) == []
    assert bake(machine, package, tmp_path / "again").digest == image.digest
    done = machine.gpuenv(package, "store", "gc", "--max-size", "1MB")
    assert done.code == 0, done.err
    assert list((machine.store / "layers").iterdir()) == []


def test_an_interrupted_bake_ends_at_once_and_leaves_nothing(
    machine: Machine, tmp_path: Path, index: IndexSimulator, locker: Locker
) -> None:
    index.publish(make_wheel(tmp_path / "wheels", "large", "1.0", size=150_000_000))
    folder = Project(dependencies=("large",)).write(tmp_path / "app", index.index_url)
    locker.lock(folder)
    words = ("bake", "image", "-o", tmp_path / "image", "--target", H100)
    assert machine.gpuenv(folder, "prepare", "--fetch-only", "--target", H100).code == 0
    process = machine.start(folder, *words, "--compression", "zstd", "--level", "12")
    assert process.stderr is not None
    assert any("making the layer of large" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not (tmp_path / "image").exists()
    assert not list(tmp_path.glob(".image*"))
    assert not list((machine.store / "layers").glob(".*"))


def test_what_a_killed_bake_has_left_is_removed_by_the_next(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    left = tmp_path / ".image.0123456789ab.partial"
    (left / "blobs").mkdir(parents=True)
    bake(machine, package, tmp_path / "image")
    assert not left.exists()


def test_a_damaged_layer_is_found_and_made_again(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    first = machine.gpuenv(
        package, "bake", "image", "--json", "-o", tmp_path / "image", "--target", H100
    ).data
    image = Image(tmp_path / "image")
    damaged = machine.store / "layers" / image.layers[0].removeprefix("sha256:")
    content = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(content[:-1] + b"x")
    done = machine.gpuenv(package, "store", "verify")
    assert done.code == 4
    assert damaged.name in done.err
    assert machine.gpuenv(package, "store", "verify", "--repair").code == 0
    assert not damaged.exists()
    shutil.rmtree(tmp_path / "image")
    assert bake(machine, package, tmp_path / "image").digest == first["digest"]


def test_the_layer_of_a_wheel_that_is_damaged_is_not_made(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    assert machine.gpuenv(package, "prepare", "--fetch-only", "--target", H100).code == 0
    (large,) = (
        path
        for path in (machine.store / "blobs").rglob("*")
        if path.is_file() and path.stat().st_size > LARGE_BYTES
    )
    content = bytearray(large.read_bytes())
    content[LARGE_BYTES // 2] ^= 0xFF
    found = large.stat()
    large.chmod(0o644)
    large.write_bytes(content)
    os.utime(large, ns=(found.st_atime_ns, found.st_mtime_ns))
    large.chmod(0o444)
    done = machine.gpuenv(package, "bake", "image", "-o", tmp_path / "image", "--target", H100)
    assert done.code == 4
    assert not (tmp_path / "image").exists()
    assert all(path.stat().st_size < LARGE_BYTES for path in (machine.store / "layers").iterdir())
