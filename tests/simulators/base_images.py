"""Base images as OCI layouts: made in an instant, or out of Debian's packages."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.adapters._zstd import ZstdCompressor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MIRROR = "http://deb.debian.org/debian"


def tar_of(
    files: Mapping[str, bytes] | None = None,
    links: Mapping[str, str] | None = None,
    others: Sequence[tarfile.TarInfo] = (),
) -> bytes:
    """A tar archive of files, symbolic links, and anything else."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (files or {}).items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        for info in others:
            archive.addfile(info)
    return buffer.getvalue()


def libc_file(libc: tuple[str, str]) -> dict[str, bytes]:
    """A C library, as far as its words go."""
    family, version = libc
    if family == "musl":
        return {"lib/ld-musl-x86_64.so.1": b"\x7fELF\0musl libc\0" + version.encode() + b"\0"}
    words = f"GNU C Library (Debian GLIBC {version}-9) stable release version {version}.\n"
    return {"usr/lib/x86_64-linux-gnu/libc.so.6": b"\x7fELF" + words.encode()}


def write_base(  # noqa: PLR0913 - all but one are optional
    folder: Path,
    *,
    pythons: Sequence[str] = ("usr/bin/python3.11",),
    libc: tuple[str, str] | None = ("glibc", "2.36"),
    machine: str = "x86_64",
    config: Mapping[str, Any] | None = None,
    layers: Sequence[bytes] | None = None,
    tag: str = "latest",
    compression: str = "gzip",
) -> Path:
    """Write a layout with one image; `layers` are tar archives in the place of made ones."""
    if layers is None:
        files = dict.fromkeys(pythons, b"#!/bin/false\n")
        layers = [tar_of({**files, **(libc_file(libc) if libc else {})}, {"bin": "usr/bin"})]
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def add(content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    kind = _LAYER if compression == "none" else f"{_LAYER}+{compression}"
    listed = [add(_compressed(layer, compression), kind) for layer in layers]
    described = add(
        json.dumps(
            {
                "architecture": _ARCHITECTURES.get(machine, machine),
                "os": "linux",
                "config": dict(config or {}),
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers],
                },
            }
        ).encode(),
        "application/vnd.oci.image.config.v1+json",
    )
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = add(
        json.dumps(
            {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": listed}
        ).encode(),
        kind,
    )
    manifest["annotations"] = {"org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "manifests": [manifest]}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")
    return folder


def _compressed(layer: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(layer, 1, mtime=0)
    if compression == "zstd":
        compressor = ZstdCompressor()
        return compressor.compress(layer) + compressor.flush()
    return layer


def needs_programs(*names: str) -> None:
    """Skip a test where a program is missing."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        pytest.skip(f"there is no {', '.join(missing)}")


def debian_base(folder: Path) -> Path:
    """A small Debian with Python 3.11, as a layout with the tag `bookworm`."""
    needs_programs("mmdebstrap")
    if os.geteuid():
        pytest.skip("a base of Debian's packages is made as root")
    folder.mkdir(parents=True)
    archive = folder / "debian.tar"
    done = subprocess.run(
        [
            *("mmdebstrap", "--mode=root", "--variant=essential", "--quiet"),
            *(
                "--include=python3.11-minimal,libpython3.11-stdlib,libstdc++6",
                "bookworm",
                str(archive),
            ),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a base cannot be made of Debian's packages: {done.stderr[-300:]}")
    layer = archive.read_bytes()
    archive.unlink()
    return write_base(
        folder / "layout",
        layers=[layer],
        tag="bookworm",
        config={"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["bash"]},
    )
