"""How files can get from one folder into another without being written twice."""

from __future__ import annotations

import errno
import fcntl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from provisioner.adapters._mounts import mount_of

if TYPE_CHECKING:
    from provisioner.adapters._mounts import Mount

LinkMode = Literal["clone", "hardlink", "copy"]
"""uv's words for a reflink, whose bytes are shared until one of both is written to, and so on."""

_FICLONE: Final = 0x40049409
"""ioctl_ficlone(2)."""
_NOT_TRIED: Final = frozenset({errno.EROFS, errno.EACCES})


def link_mode(source: Path, target: Path) -> LinkMode:
    """The safest way that shares bytes: a reflink, else a hard link, else a copy.

    It is tried in `target`, a folder that is ours; nothing is written in `source`. Neither need
    be there yet, and what cannot be written to is not tried. What lies on one mount counts as one
    place: no link leads out of it.
    """
    places = [_nearest(source), _nearest(target)]
    if len({_point(mount_of(place)) for place in places}) > 1:
        return "copy"
    are_one = len({place.stat().st_dev for place in places}) == 1
    if sys.platform == "darwin":
        return "clone" if are_one else "copy"
    linked: LinkMode = "hardlink" if are_one else "copy"
    try:
        with tempfile.TemporaryDirectory(prefix=".links-", dir=target) as name:
            first = Path(name, "first")
            first.write_bytes(b"shared")
            if _can_clone(first, first.with_name("clone")):
                return "clone"  # Also between the subvolumes of a btrfs, which are no one device.
            first.with_name("link").hardlink_to(first)
    except FileNotFoundError:
        return linked
    except OSError as error:
        # A link is refused with another number than a folder that is not ours to write to.
        return linked if error.errno in _NOT_TRIED else "copy"
    return linked


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _can_clone(source: Path, target: Path) -> bool:
    with source.open("rb") as reading, target.open("wb") as writing:
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
        except OSError:
            return False
    return target.stat().st_size == source.stat().st_size


def _point(mount: Mount | None) -> str | None:
    return mount.point if mount else None
