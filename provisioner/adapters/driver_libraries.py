"""Where the driver's libraries are, and what its libcuda says of itself.

On this machine the loader's own search counts, and folders that some systems leave out of it.
Below another root only that root's folders are looked at, as NVIDIA's device plugin does with
a driver root: nothing of this machine may speak for the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.core.elf import read_compat_note

if TYPE_CHECKING:
    from provisioner.core.host import Compat, Platform

HERE: Final = Path("/")

_WSL: Final = "usr/lib/wsl/lib"
"""Windows puts the real libraries here; a stub elsewhere may shadow them (nvtop#441)."""


def library_candidates(name: str, root: Path, platform: Platform) -> list[str]:
    """Paths to try in turn; the bare name stands for the loader's search."""
    multiarch = f"usr/lib/{platform.machine}-linux-gnu"
    # RHEL, Debian, Kubernetes' device plugin, NixOS.
    apart = [
        "usr/lib64/nvidia",
        f"{multiarch}/nvidia/current",
        "usr/local/nvidia/lib64",
        "run/opengl-driver/lib",
    ]
    first = [_WSL] if platform.kind == "wsl2" else []
    if root == HERE:
        return [*_there(name, root, first), name, *_there(name, root, apart)]
    usual = ["usr/lib64", multiarch, "usr/lib", f"{multiarch}/tegra", f"{multiarch}/nvidia"]
    return _there(name, root, [*first, *usual, *apart])


def read_note(path: str | None) -> Compat | None:
    """What a `libcuda.so.1` says of the drivers that it runs on, if it says it."""
    import mmap

    if path is None:
        return None
    try:
        with (
            Path(path).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            return read_compat_note(view)
    except (OSError, ValueError):
        return None


def _there(name: str, root: Path, folders: list[str]) -> list[str]:
    paths = (root / folder / name for folder in folders)
    return [str(path) for path in paths if path.exists()]
