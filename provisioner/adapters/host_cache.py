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
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME: Final = "host.json"
_DISPLAY_CLASS: Final = "0x03"
_PROC: Final = "proc/driver/nvidia"
_HERE: Final = Path("/")


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
    library_path = variables.get("LD_LIBRARY_PATH", "")
    return {
        "gpuenv": __version__,
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "kernel": list(os.uname()[2:]),
        "user": [os.getuid(), sorted(os.getgroups())],
        "root": top,
        "mounts": _inode("/proc/self/ns/mnt"),
        "cgroup": _text("/proc/self/cgroup"),
        "libc": _libc(root),
        "module": _text(f"{top}/sys/module/nvidia/version"),
        "nouveau": os.path.isdir(f"{top}/sys/module/nouveau"),  # noqa: PTH112 - see `_pci`
        "gpus": _names(f"{top}/{_PROC}/gpus"),
        "mig": _mig(f"{top}/{_PROC}/capabilities"),
        "nodes": _nodes(f"{top}/dev"),
        "pci": _pci(f"{top}/sys/bus/pci/devices"),
        "platform": [
            _stat(f"{top}/{name}")
            for name in (".dockerenv", "run/.containerenv", "run/systemd/container")
        ],
        "search": [
            library_path,
            [_stat(folder) for folder in library_path.split(":") if folder],
            _stat(f"{top}/etc/ld.so.cache"),
            [_stat(f"{top}/{folder}") for folder in _library_folders()],
            variables.get("LD_PRELOAD", ""),
        ],
        "program": variables.get("PATH", "") if _has_program(used) else "",
        "used": {path: _stat(path) for path in used},
    }


def _library_folders() -> tuple[str, ...]:
    """Folders of which a new library would be taken without the loader's cache knowing it."""
    multiarch = f"usr/lib/{os.uname().machine}-linux-gnu"
    apart = ("usr/lib64/nvidia", "usr/local/nvidia/lib64", "run/opengl-driver/lib")
    return ("usr/lib/wsl/lib", "usr/lib64", multiarch, "usr/lib", f"{multiarch}/tegra", *apart)


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
    folders = (f"lib/{machine}-linux-gnu", "lib64", "lib", "usr/lib64", "usr/lib")
    databases = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
    names = [f"{folder}/libc.so.6" for folder in folders]
    marks = ("etc/nv_tegra_release", "sys/devices/soc0/family", "proc/sys/kernel/osrelease")
    return [_stat(f"{root}/{name}") for name in (*names, *databases, *marks)]


def _mig(folder: str) -> list[Any]:
    """The MIG instances of each GPU: `gpu0/mig/gi1/ci0`."""
    return [
        [gpu, instance, _names(f"{folder}/{gpu}/mig/{instance}")]
        for gpu in _names(folder)
        for instance in _names(f"{folder}/{gpu}/mig")
    ]


def _nodes(folder: str) -> list[Any]:
    """The driver's device nodes: number, owner and rights."""
    found = []
    for name in _names(folder):
        if name == "dxg" or name.startswith("nvidia"):
            try:
                made = os.stat(f"{folder}/{name}")  # noqa: PTH116 - see `_pci`
            except OSError:
                continue
            found.append([name, made.st_rdev, made.st_mode, made.st_uid, made.st_gid])
    return found


def _pci(folder: str) -> list[Any]:
    """NVIDIA's GPUs on the bus and the drivers that have them.

    A host may have hundreds of devices, which are looked at before every answer: no `Path`s.
    """
    found = []
    for address in _names(folder):
        device = f"{folder}/{address}"
        if _text(f"{device}/vendor") != "0x10de":
            continue
        if (_text(f"{device}/class") or "").startswith(_DISPLAY_CLASS):
            found.append([address, _link(f"{device}/driver")])
    return found


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - see `_pci`
    except OSError:
        return []


def _stat(path: str) -> list[int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - see `_pci`
    except OSError:
        return None
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - see `_pci`
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - see `_pci`
    except OSError:
        return None


def _text(path: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, 1 << 16).decode("utf-8", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)
