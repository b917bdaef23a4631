"""Folders that stand for the root of a machine: its `/proc`, `/sys`, `/dev` and libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.adapters.machine import this_platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from provisioner.core.host import Libc

OPEN_MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build"
    "  (dvs-builder@U22)  Sun Jul 20 00:00:00 UTC 2025\n"
    "GCC version:  gcc version 12.3.0\n"
)
CLOSED_MODULE = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Thu Oct 19 18:56:32 UTC 2023\n"
    "GCC version:  gcc version 12.3.0\n"
)
INFORMATION = (
    "Model: \t\t {name}\nIRQ:   \t\t 139\nGPU UUID: \t {uuid}\nVideo BIOS: \t 94.02.26.08.32\n"
    "Bus Type: \t PCIe\nDMA Size: \t 47 bits\nBus Location: \t {address}\n"
    "Device Minor: \t {minor}\nGPU Firmware: \t N/A\nGPU Excluded:\t No\n"
)


def put(root: Path, name: str, text: str = "") -> Path:
    """Put a file below a root."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def put_libc(root: Path, libc: Libc | None) -> None:
    """Put a C library below a root, as far as its version can be read from files."""
    if libc is None:
        return
    name, version = libc
    if name == "glibc":
        put(root, "lib64/libc.so.6", f"GNU C Library (Test) stable release version {version}.\n")
    else:
        put(root, "lib/ld-musl-x86_64.so.1")
        put(root, "lib/apk/db/installed", f"C:Q1\nP:musl\nV:{version}.5-r0\nA:x86_64\n\n")


def put_pci(root: Path, address: str, driver: str | None, **files: str) -> None:
    """Put a device on the bus, an NVIDIA 3D controller if the files do not say otherwise."""
    folder = root / "sys/bus/pci/devices" / address
    for name, text in {
        "vendor": "0x10de",
        "class": "0x030200",
        "device": "0x2330",
        **files,
    }.items():
        put(folder, name, f"{text}\n")
    if driver is not None:
        (folder / "driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")


def put_gpu(root: Path, address: str, minor: int, *, name: str, uuid: str) -> None:
    """Put what the driver says of a GPU."""
    text = INFORMATION.format(name=name, uuid=uuid, address=address, minor=minor)
    put(root, f"proc/driver/nvidia/gpus/{address}/information", text)


def make_root(  # noqa: PLR0913 - all but one are optional
    root: Path,
    *,
    driver: str | None = None,
    nodes: int = 0,
    pci: Mapping[str, str | None] | None = None,
    libraries: Iterable[Path] = (),
    library_folder: str = "usr/lib64",
    libc: Libc | None = None,
) -> Path:
    """Make the root of a machine.

    Args:
        root: The folder; made if missing.
        driver: The version of the kernel module that is loaded, if one is.
        nodes: How many GPUs have device nodes.
        pci: NVIDIA's GPUs on the bus: address and bound driver.
        libraries: Libraries of the driver; links to them are made.
        library_folder: Where these links go.
        libc: The C library; this machine's if it is not said.

    Returns:
        The folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    put_libc(root, libc or this_platform().libc)
    if driver is not None:
        put(root, "sys/module/nvidia/version", f"{driver}\n")
        put(root, "proc/driver/nvidia/version", OPEN_MODULE.format(version=driver))
    if nodes:
        put(root, "dev/nvidiactl")
    for minor in range(nodes):
        put(root, f"dev/nvidia{minor}")
    for address, bound in (pci or {}).items():
        put_pci(root, address, bound)
    for library in libraries:
        link = root / library_folder / library.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(library)
    return root
