"""What this machine is: operating system, machine, C library and container.

With another root than `/` its files speak, and no program or library of this process's own.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

from provisioner.adapters._machine_files import (
    CHIP_FAMILY,
    CONTAINER_MARKS,
    KERNEL_RELEASE,
    MUSL_DATABASES,
    TEGRA_RELEASE,
    WSL,
    glibc_files,
)
from provisioner.core.host import Libc, Platform, PlatformClass, System

_SYSTEMS: Final[dict[str, System]] = {"linux": "linux", "darwin": "macos", "win32": "windows"}
_HERE: Final = Path("/")

_GLIBC: Final = re.compile(rb"GNU C Library [^\n\0]*release version ([0-9]+\.[0-9]+)")
_MUSL: Final = re.compile(r"Version (\d+\.\d+)")
_MUSL_PACKAGE: Final = re.compile(r"^P:musl\n(?:[^\n]+\n)*?V:(\d+\.\d+)", re.MULTILINE)
"""An entry of Alpine's database of installed packages, apk's `installed`."""


def this_platform(root: Path = _HERE) -> Platform:
    """Look at this machine; `root` is where its files are."""
    system = _SYSTEMS.get(sys.platform, "linux")
    linux = system == "linux"
    return Platform(
        system=system,
        machine=os.uname().machine,
        kind=_kind(system, root),
        libc=_libc(root) if linux else None,
        container=_container(root) if linux else None,
    )


def _kind(system: System, root: Path) -> PlatformClass:
    if system != "linux":
        return system
    if (root / "dev/dxg").exists():
        return "wsl2"
    kernel = _text(root / KERNEL_RELEASE).lower()
    if "microsoft" in kernel and (root / WSL).is_dir():
        return "wsl2"
    family = _text(root / CHIP_FAMILY).lower()
    tegra = family.startswith("tegra") or (root / TEGRA_RELEASE).exists()
    return "jetson" if tegra else "linux"


def _container(root: Path) -> str | None:
    """The engine whose container this is, by the marks that engines leave."""
    docker, podman, other = (root / mark for mark in CONTAINER_MARKS)
    if docker.exists():
        return "docker"
    if podman.exists():
        return "podman"
    return _text(other).strip() or None


def _libc(root: Path) -> Libc | None:
    return _own_libc() if root == _HERE else _libc_of_files(root)


def _own_libc() -> Libc | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        name, version = "", ""
    if name == "glibc" and version:
        return ("glibc", version)
    import subprocess

    for loader in _loaders(_HERE):
        # musl says its version only when its loader is run without arguments.
        try:
            said = subprocess.run([loader], capture_output=True, text=True, check=False).stderr
        except OSError:
            continue  # A loader of another architecture.
        if found := _MUSL.search(said):
            return ("musl", found[1])
    return None


def _libc_of_files(root: Path) -> Libc | None:
    """The C library below another root.

    glibc's name and version stand in its file. musl's do not in a form of their own, so that
    its version is taken from the package database, and unknown elsewhere than on Alpine.
    """
    for name in glibc_files(os.uname().machine):
        try:
            found = _GLIBC.search((root / name).read_bytes())
        except OSError:
            continue
        if found:
            return ("glibc", found[1].decode("ascii"))
    if _loaders(root):
        for database in MUSL_DATABASES:
            if package := _MUSL_PACKAGE.search(_text(root / database)):
                return ("musl", package[1])
    return None


def _loaders(root: Path) -> list[Path]:
    return sorted(root.glob("lib/ld-musl-*.so.1"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
