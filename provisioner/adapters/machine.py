"""What this machine is: operating system, machine and C library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from provisioner.core.host import Libc, Platform, PlatformClass, System

_SYSTEMS: Final[dict[str, System]] = {"linux": "linux", "darwin": "macos", "win32": "windows"}


def this_platform(root: Path = Path("/")) -> Platform:
    """Look at this machine; `root` is where its files are."""
    system = _SYSTEMS.get(sys.platform, "linux")
    return Platform(
        system=system,
        machine=os.uname().machine,
        kind=_kind(system, root),
        libc=_libc(root) if system == "linux" else None,
    )


def _kind(system: System, root: Path) -> PlatformClass:
    if system != "linux":
        return system
    if (root / "dev/dxg").exists():
        return "wsl2"
    family = root / "sys/devices/soc0/family"
    tegra = (root / "etc/nv_tegra_release").exists() or (
        family.exists() and family.read_text(encoding="utf-8").lower().startswith("tegra")
    )
    return "jetson" if tegra else "linux"


def _libc(root: Path) -> Libc | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        name, version = "", ""
    if name == "glibc" and version:
        return ("glibc", version)
    for loader in root.glob("lib/ld-musl-*.so.1"):
        # musl says its version only when its loader is run without arguments.
        try:
            said = subprocess.run([loader], capture_output=True, text=True, check=False).stderr
        except OSError:
            continue  # A loader of another architecture.
        if found := re.search(r"Version (\d+\.\d+)", said):
            return ("musl", found[1])
    return None
