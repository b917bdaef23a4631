"""The detected host, kept for as long as nothing that it was detected from has changed.

The fingerprint is made of what files and the kernel tell without asking the driver: whatever
changes the driver, a device, or this process's view of them changes it too.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner import __version__
from provisioner.adapters._files import read_json, write_whole
from provisioner.adapters._machine_files import (
    CHIP_FAMILY,
    CONTAINER_MARKS,
    KERNEL_RELEASE,
    MUSL_DATABASES,
    PCI,
    PROC,
    TEGRA_RELEASE,
    WSL,
    folders_apart,
    glibc_files,
    gpus_on_the_bus,
    names,
    text_of,
    usual_folders,
)
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME: Final = "host.json"
_HERE: Final = Path("/")
_IDENTITY: Final = ("device", "subsystem_vendor", "subsystem_device")
"""Files of a PCI device that tell which model it is."""


def cache_folder(variables: Mapping[str, str], home: Path) -> Path:
    """The user's cache folder (XDG, or macOS's)."""
    if base := variables.get("XDG_CACHE_HOME"):
        return Path(base) / "gpuenv"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "gpuenv"


class HostCache:
    """One file; what cannot be read, or written, is as if it were not there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME

    def read(self) -> dict[str, Any] | None:
        """What was kept."""
        try:
            kept = read_json(self._path)
        except (OSError, ValueError, RecursionError):
            return None
        return kept if isinstance(kept, dict) else None

    def write(self, kept: Mapping[str, Any]) -> None:
        """Keep something else."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(kept))
        except (OSError, GpuenvError):
            return

    def forget(self) -> None:
        """Keep nothing."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return


def fingerprint(root: Path, variables: Mapping[str, str], used: Iterable[str]) -> dict[str, Any]:
    """All that the answer of the probes depends on, as JSON has it.

    `used` are the libraries and programs that told of the host.
    """
    top = str(root).rstrip("/")
    machine = os.uname().machine
    # Of these a new library would be taken without the loader's cache knowing it.
    folders = (WSL, *usual_folders(machine), *folders_apart(machine))
    library_path = variables.get("LD_LIBRARY_PATH", "")
    return {
        "gpuenv": __version__,
        "boot": text_of("/proc/sys/kernel/random/boot_id"),
        "kernel": list(os.uname()[2:]),
        "user": [os.getuid(), sorted(os.getgroups())],
        "root": top,
        "mounts": _inode("/proc/self/ns/mnt"),
        "cgroup": text_of("/proc/self/cgroup"),
        "libc": _libc(root),
        "module": text_of(f"{top}/sys/module/nvidia/version"),
        "nouveau": os.path.isdir(f"{top}/sys/module/nouveau"),  # noqa: PTH112 - no `Path`s
        "gpus": names(f"{top}/{PROC}/gpus"),
        "mig": _mig(f"{top}/{PROC}/capabilities"),
        "nodes": _nodes(f"{top}/dev"),
        "pci": _pci(top),
        "platform": [_stat(f"{top}/{name}") for name in CONTAINER_MARKS],
        "search": [
            library_path,
            [_stat(folder) for folder in library_path.split(":") if folder],
            _stat(f"{top}/etc/ld.so.cache"),
            [_stat(f"{top}/{folder}") for folder in folders],
            variables.get("LD_PRELOAD", ""),
        ],
        "program": variables.get("PATH", "") if _has_program(used) else "",
        "used": {path: _stat(path) for path in used},
    }


def _has_program(used: Iterable[str]) -> bool:
    return any(".so" not in path.rpartition("/")[2] for path in used)


def _libc(root: Path) -> list[Any]:
    """This process's C library, or the files that tell of another root's."""
    if root == _HERE:
        try:
            return [os.confstr("CS_GNU_LIBC_VERSION")]
        except (ValueError, OSError):
            return [_stat(f"/lib/ld-musl-{os.uname().machine}.so.1")]
    machine = os.uname().machine
    # Whether there is a musl, of whatever machine, the folder of its loader tells.
    files = (*glibc_files(machine), "lib", *MUSL_DATABASES)
    marks = (TEGRA_RELEASE, CHIP_FAMILY, KERNEL_RELEASE)
    return [_stat(f"{root}/{name}") for name in (*files, *marks)]


def _mig(folder: str) -> list[Any]:
    """The MIG instances of each GPU: `gpu0/mig/gi1/ci0`."""
    return [
        [gpu, instance, names(f"{folder}/{gpu}/mig/{instance}")]
        for gpu in names(folder)
        for instance in names(f"{folder}/{gpu}/mig")
    ]


def _nodes(folder: str) -> list[Any]:
    """The driver's device nodes: number, owner and rights."""
    found = []
    for name in names(folder):
        if name == "dxg" or name.startswith("nvidia"):
            try:
                made = os.stat(f"{folder}/{name}")  # noqa: PTH116 - no `Path`s
            except OSError:
                continue
            found.append([name, made.st_rdev, made.st_mode, made.st_uid, made.st_gid])
    return found


def _pci(top: str) -> list[Any]:
    """NVIDIA's GPUs on the bus, which model each is, and the driver that has it.

    The kernel gives a device another inode when it comes back, be it to the same address.
    """
    found = []
    for address, driver in gpus_on_the_bus(top):
        device = f"{top}/{PCI}/{address}"
        identity = [text_of(f"{device}/{name}") for name in _IDENTITY]
        found.append([address, driver, _inode(device), *identity])
    return found


def _stat(path: str) -> list[int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - no `Path`s
    except OSError:
        return None
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - no `Path`s
    except OSError:
        return None
