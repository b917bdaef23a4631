"""Whether a project is still there, or cannot be looked for from here."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Whereabouts = Literal["here", "gone", "elsewhere", "unmounted", "unreadable"]
"""`elsewhere`: prepared on another host, or in a container, so that it cannot be told here."""

_MACHINE_ID: Final = Path("/etc/machine-id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where a folder lay when it was looked at.

    `machine` is a hash of the machine's id (machine-id(5) wants that none gets out), empty
    where it has none; a container may have its host's name, and not its id. `mount` is the
    mount point, and `filesystem` the id of what was mounted there, as statvfs(3) tells it.
    What was not noted is empty or None.
    """

    host: str = ""
    machine: str | None = None
    mount: str = ""
    filesystem: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        return asdict(self)


def site_from_json(data: Mapping[str, Any]) -> Site:
    """Read the written form.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    machine, filesystem = data.get("machine"), data.get("filesystem")
    return Site(
        host=str(data["host"]),
        machine=None if machine is None else str(machine),
        mount=str(data["mount"]),
        filesystem=None if filesystem is None else int(filesystem),
    )


def site_of(folder: Path) -> Site:
    """Where a folder lies."""
    real = folder.resolve()
    return Site(
        host=os.uname().nodename,
        machine=_machine(),
        mount=str(next(each for each in (real, *real.parents) if os.path.ismount(each))),
        filesystem=_filesystem(real),
    )


def whereabouts(home: Path, site: Site) -> Whereabouts:
    """Whether a project that lay at a site is still there."""
    try:
        (home / ".gpuenv").stat()
    except (FileNotFoundError, NotADirectoryError):
        if site.host not in {"", os.uname().nodename} or site.machine not in {None, _machine()}:
            return "elsewhere"
        # What is left of its path lies on another file system where its own is not mounted,
        # another one is mounted there, or something over a folder above.
        if site.mount and not os.path.ismount(site.mount):
            return "unmounted"
        return "gone" if site.filesystem in {None, _filesystem(home)} else "unmounted"
    except OSError:
        return "unreadable"
    return "here"


def _machine() -> str:
    import hashlib

    try:
        name = _MACHINE_ID.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return hashlib.sha256(f"gpuenv {name}".encode()).hexdigest()[:16] if name else ""


def _filesystem(path: Path) -> int | None:
    """The id of the file system on which a path lies, or what there is of it."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return os.statvfs(folder).f_fsid
    return None
