"""Wheel tags and environment markers of a target that need not be this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging import tags

from provisioner.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.tags import Tag

    from provisioner.core.host import Platform
    from provisioner.core.interpreter import Interpreter

_LEGACY_MANYLINUX = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_OLDEST_GLIBC_MINOR = {"x86_64": 5, "i686": 5}
_MARKERS = {
    "linux": ("posix", "linux", "Linux"),
    "macos": ("posix", "darwin", "Darwin"),
    "windows": ("nt", "win32", "Windows"),
}
_MAC_VERSION = (14, 0)
_WINDOWS_MACHINES = {"x86_64": "AMD64", "aarch64": "ARM64"}


def platform_tags(platform: Platform) -> Iterator[str]:
    """The platform tags of a target, best first (PEP 600, PEP 656).

    Raises:
        TargetError: the C library of a Linux target is not known.
    """
    machine = platform.machine
    if platform.system == "macos":
        yield from tags.mac_platforms(_MAC_VERSION, machine)
        return
    if platform.system == "windows":
        yield {"x86_64": "win_amd64", "AMD64": "win_amd64"}.get(machine, f"win_{machine.lower()}")
        return
    if platform.libc is None:
        message = "the C library of the target is not known"
        raise TargetError(message, hint="name it in the target, such as `glibc=2.35`")
    family, version = platform.libc
    major, minor = (int(part) for part in f"{version}.0".split(".")[:2])
    if family == "musl":
        for older in range(minor, -1, -1):
            yield f"musllinux_{major}_{older}_{machine}"
    else:
        for older in range(minor, _OLDEST_GLIBC_MINOR.get(machine, 17) - 1, -1):
            yield f"manylinux_{major}_{older}_{machine}"
            if legacy := _LEGACY_MANYLINUX.get((major, older)):
                yield f"{legacy}_{machine}"
    yield f"linux_{machine}"


def wheel_tags(interpreter: Interpreter, platform: Platform) -> list[Tag]:
    """Every wheel tag that the target takes, best first."""
    platforms = list(platform_tags(platform))
    version = interpreter.minor
    digits = "".join(map(str, version))
    threads = "t" if interpreter.free_threaded else ""
    return [
        *tags.cpython_tags(version, [f"cp{digits}{threads}"], platforms),
        *tags.compatible_tags(version, f"cp{digits}", platforms),
    ]


def markers(interpreter: Interpreter, platform: Platform) -> dict[str, str]:
    """The marker variables (PEP 508) of the target."""
    os_name, sys_platform, system = _MARKERS[platform.system]
    version = interpreter.version
    full = version if version.count(".") > 1 else f"{version}.0"
    return {
        "os_name": os_name,
        "sys_platform": sys_platform,
        "platform_system": system,
        "platform_machine": _WINDOWS_MACHINES.get(platform.machine, platform.machine)
        if platform.system == "windows"
        else platform.machine,
        "platform_release": "",
        "platform_version": "",
        "platform_python_implementation": "CPython",
        "implementation_name": interpreter.implementation,
        "implementation_version": full,
        "python_version": ".".join(map(str, interpreter.minor)),
        "python_full_version": full,
    }
