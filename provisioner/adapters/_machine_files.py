"""Where a machine keeps what tells of its driver, GPUs and C library.

Who reads these files and who watches them for changes go by the same lists. They are looked
at before every answer, and a host may have hundreds of PCI devices: so no `Path`s here.
"""

from __future__ import annotations

import os
from typing import Final

PROC: Final = "proc/driver/nvidia"
PCI: Final = "sys/bus/pci/devices"
WSL: Final = "usr/lib/wsl/lib"
"""Windows puts the real libraries here; a stub elsewhere may shadow them (nvtop#441)."""

MUSL_DATABASES: Final = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
"""Where Alpine's apk tells of installed packages."""
TEGRA_RELEASE: Final = "etc/nv_tegra_release"
CHIP_FAMILY: Final = "sys/devices/soc0/family"
KERNEL_RELEASE: Final = "proc/sys/kernel/osrelease"
CONTAINER_MARKS: Final = (".dockerenv", "run/.containerenv", "run/systemd/container")
"""Left by docker, by podman, and by what systemd knows of, whose name is its text."""

_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"
"""PCI class of VGA and 3D controllers."""
_MOST_BYTES: Final = 1 << 16


def usual_folders(machine: str) -> tuple[str, ...]:
    """Folders of libraries in which loaders look."""
    multiarch = f"usr/lib/{machine}-linux-gnu"
    return ("usr/lib64", multiarch, "usr/lib", f"{multiarch}/tegra", f"{multiarch}/nvidia")


def folders_apart(machine: str) -> tuple[str, ...]:
    """Folders of the driver that some systems keep out of the loader's search."""
    # RHEL, Debian, Kubernetes' device plugin, NixOS.
    return (
        "usr/lib64/nvidia",
        f"usr/lib/{machine}-linux-gnu/nvidia/current",
        "usr/local/nvidia/lib64",
        "run/opengl-driver/lib",
    )


def glibc_files(machine: str) -> tuple[str, ...]:
    """Where a glibc may be."""
    folders = (f"lib/{machine}-linux-gnu", "lib64", "lib", "usr/lib64", "usr/lib")
    return tuple(f"{folder}/libc.so.6" for folder in folders)


def gpus_on_the_bus(top: str) -> list[tuple[str, str | None]]:
    """NVIDIA's display and 3D controllers below a root, and the driver that has each."""
    found = []
    for address in names(f"{top}/{PCI}"):
        device = f"{top}/{PCI}/{address}"
        if text_of(f"{device}/vendor") != _NVIDIA:
            continue
        if (text_of(f"{device}/class") or "").startswith(_DISPLAY_CLASS):
            found.append((address, _target(f"{device}/driver")))
    return found


def names(folder: str) -> list[str]:
    """The names in a folder, sorted; none where there is no folder."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - no `Path`s
    except OSError:
        return []


def text_of(path: str) -> str | None:
    """A short file of the kernel's, without the space around; None where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, _MOST_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _target(path: str) -> str | None:
    """The last part of what a link leads to."""
    try:
        return os.readlink(path).rpartition("/")[2]  # noqa: PTH115 - no `Path`s
    except OSError:
        return None
