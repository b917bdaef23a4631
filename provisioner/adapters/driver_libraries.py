"""Where the driver's libraries are, and what its libcuda says of itself.

On this machine the loader's own search counts, and folders that some systems leave out of it.
Below another root only that root's folders are looked at, as NVIDIA's device plugin does with
a driver root: nothing of this machine may speak for the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters._machine_files import WSL, folders_apart, usual_folders
from provisioner.core.elf import read_compat_note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.host import Compat, Platform

HERE: Final = Path("/")


def library_candidates(name: str, root: Path, platform: Platform) -> list[str]:
    """Paths to try in turn; the bare name stands for the loader's search."""
    apart = folders_apart(platform.machine)
    first = (WSL,) if platform.kind == "wsl2" else ()
    if root == HERE:
        return [*_there(name, root, first), name, *_there(name, root, apart)]
    return _there(name, root, (*first, *usual_folders(platform.machine), *apart))


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


def _there(name: str, root: Path, folders: Iterable[str]) -> list[str]:
    paths = (root / folder / name for folder in folders)
    return [str(path) for path in paths if path.exists()]
