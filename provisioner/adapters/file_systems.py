"""What is free on the file systems that folders are on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from provisioner.adapters._mounts import mount_of
from provisioner.core.room import FileSystem

if TYPE_CHECKING:
    from pathlib import Path


def file_system_of(path: Path) -> FileSystem:
    """The file system that a path is on, or would be."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    found = os.statvfs(there)
    mount = mount_of(there)
    return FileSystem(
        device=there.stat().st_dev,
        point=mount.point if mount else str(there),
        kind=mount.kind if mount else None,
        free_bytes=found.f_bavail * found.f_frsize,
        # btrfs, for one, makes inodes as they are needed and tells 0 of 0.
        free_inodes=found.f_favail if found.f_files else None,
    )


def is_empty(folder: Path) -> bool:
    """Whether there is nothing in a folder, or no such folder."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return True
