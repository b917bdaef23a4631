"""What an installer would write of a wheel, as uv writes it, and wheels that are refused."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.layer_archive import write_layer
from provisioner.adapters.wheel_tree import open_wheel, wheel_entries
from provisioner.core.digest import Digest
from provisioner.core.image_environment import ImageEnvironment
from provisioner.core.image_tree import Entry, tree
from provisioner.errors import IntegrityError
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.images import unpacked
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.core.oci import Compression

DIGEST = Digest("0" * 64)
FILES = {
    "tool/__init__.py": b"def main(): print('tool')\n",
    "tool-1.0.data/scripts/old-tool": b"#!python\nprint('old')\n",
    "tool-1.0.data/scripts/shell": b"#!/bin/sh\necho shell\n",
    "tool-1.0.data/data/share/tool.txt": b"data\n",
    "tool-1.0.data/headers/tool.h": b"// header\n",
    "tool-1.0.data/purelib/pure.py": b"",
    "tool-1.0.dist-info/entry_points.txt": b"[console_scripts]\ntool = tool:main\n",
}


def environment(path: str) -> ImageEnvironment:
    version = sys.version_info
    return ImageEnvironment(
        path=path, python=sys.executable, version=(version.major, version.minor)
    )


def entries_of(wheel: Path, path: str = "/opt/env") -> tuple[Entry, ...]:
    with open_wheel(wheel, wheel.name) as opened:
        return wheel_entries(opened, DIGEST, environment(path))


def layer_of(wheel: Path, path: str, compression: Compression = "gzip", level: int = 6) -> bytes:
    with open_wheel(wheel, wheel.name) as opened:
        file = io.BytesIO()
        found = write_layer(
            file,
            tree(wheel_entries(opened, DIGEST, environment(path))),
            lambda packed: opened.member(packed.member),
            compression=compression,
            level=level,
            modified=0,
            name="layer",
        )
    return unpacked(file.getvalue(), found.media_type)


def test_an_image_has_the_files_that_uv_installs(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "tool", "1.0", files=FILES, size=100_000)
    real = tmp_path / "real"
    variables = clean_environment(tmp_path / "home")
    for words in (
        ("venv", "-q", "--python", sys.executable, str(real)),
        ("pip", "install", "-q", "--offline", "--no-deps", "--python", str(real), str(wheel)),
    ):
        subprocess.run([uv_binary(), *words], env=variables, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(layer_of(wheel, str(real)))) as archive:
        made = {
            member.name.removeprefix(f"{str(real)[1:]}/"): archive.extractfile(member)
            for member in archive
            if member.isreg()
        }
    site = f"{environment('').site}/tool-1.0.dist-info"
    own = {f"{site}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")}
    for name, file in made.items():
        assert file is not None
        if name in own or name in {"bin/tool", "bin/old-tool"}:
            continue
        assert (real / name).read_bytes() == file.read(), name
    there = {
        str(path.relative_to(real))
        for folder in ("share", "include", environment("").site)
        for path in (real / folder).rglob("*")
        if path.is_file() and "virtualenv" not in path.name and "uv_" not in path.name
    }
    assert there - own == {name for name in made if not name.startswith("bin/")} - own
    assert {"bin/tool", "bin/old-tool", "bin/shell"} <= made.keys()


@pytest.mark.parametrize(("compression", "level"), [("gzip", 1), ("gzip", 9), ("zstd", 1)])
def test_whatever_the_compression_the_archive_is_one(
    tmp_path: Path, compression: Compression, level: int
) -> None:
    wheel = make_wheel(tmp_path, "tool", "1.0", files=FILES, size=3_000_000)
    assert layer_of(wheel, "/e", compression, level) == layer_of(wheel, "/e")


def test_a_member_that_is_only_stored_is_taken_too(tmp_path: Path) -> None:
    packed = make_wheel(tmp_path, "tool", "1.0", files=FILES, size=200_000)
    stored = tmp_path / "stored" / packed.name
    stored.parent.mkdir()
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(stored, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    assert layer_of(stored, "/e") == layer_of(packed, "/e")


def rewritten(wheel: Path, folder: Path, **files: bytes) -> Path:
    """The wheel with further files."""
    folder.mkdir()
    path = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            new.writestr(info, old.read(info))
        for name, content in files.items():
            new.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../../../../../evil"])
def test_a_file_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    wheel = make_wheel(tmp_path, "tool", "1.0")
    with pytest.raises(IntegrityError):
        entries_of(rewritten(wheel, tmp_path / "odd", **{name: b"x"}))


def test_byte_code_in_a_wheel_is_left_out(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "tool", "1.0", files={"tool/__pycache__/x.cpython-311.pyc": b"x"})
    assert not [entry for entry in entries_of(wheel) if "pycache" in entry.path]


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"no zip"])
def test_what_is_no_wheel_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tool-1.0-py3-none-any.whl"
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        entries_of(path)


def test_a_damaged_member_makes_no_layer(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "tool", "1.0", size=300_000)
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 0xFF
    wheel.write_bytes(content)
    for compression in ("gzip", "zstd"):
        with pytest.raises(IntegrityError):
            layer_of(wheel, "/e", compression)


class FullOnce(io.BytesIO):
    """A file on a disk that is full for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = False

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes are all it gets
        if not self.failed and self.tell() > 1000:
            self.failed = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_disk_that_was_full_for_a_moment_makes_no_layer(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "tool", "1.0", size=60_000_000)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")  # noqa: S202 - a wheel of the tests
    with open_wheel(wheel, wheel.name) as opened, pytest.raises(OSError, match="No space"):
        write_layer(
            FullOnce(),
            tree(wheel_entries(opened, DIGEST, environment("/e"))),
            lambda packed: opened.member(packed.member),
            unpacked=lambda packed: tmp_path / "site" / packed.member,
            compression="zstd",
            level=1,
            modified=0,
            name="layer",
        )
