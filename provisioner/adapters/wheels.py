"""What wheels are, unpacked, by the lists of their contents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.core.archives import info_folders
from provisioner.core.room import Unpacked

if TYPE_CHECKING:
    from pathlib import Path

_METADATA_BYTES: Final = 8 << 20


def unpacked(wheel: Path) -> Unpacked | None:
    """The contents of a wheel, by its central directory; None where it cannot be read."""
    import zipfile

    try:
        with zipfile.ZipFile(wheel) as archive:
            found = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    folders: set[str] = set()
    for name in {item.filename.rpartition("/")[0] for item in found}:
        parts = name.split("/") if name else []
        folders.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    files = [item for item in found if not item.is_dir()]
    return Unpacked(
        bytes=sum(item.file_size for item in files), files=len(files), folders=len(folders)
    )


def metadata_of(wheel: Path) -> bytes | None:
    """The file `METADATA` of a wheel; None where it has none that can be read."""
    import zipfile

    try:
        with zipfile.ZipFile(wheel) as archive:
            folders = info_folders(archive.namelist())
            if len(folders) != 1:
                return None
            with archive.open(f"{folders[0]}/METADATA") as file:
                found = file.read(_METADATA_BYTES + 1)
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile):
        return None
    return found if len(found) <= _METADATA_BYTES else None


def member_hash(wheel: Path, name: str) -> str | None:
    """The SHA-256 of a file in a wheel; None where it has none of that name that can be read."""
    import hashlib
    import zipfile

    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile):
        return None


def take_out(wheel: Path, name: str, target: Path) -> bool:
    """Put a file of a wheel in the place of `target`, as a new file; whether the wheel has it.

    Who has the old one open keeps that.

    Raises:
        OSError: it cannot be written.
    """
    import os
    import shutil
    import zipfile

    staged = target.with_name(f".{target.name}.gpuenv")
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, staged.open("wb") as file:
                shutil.copyfileobj(source, file)
                if info.external_attr >> 16 & 0o111:
                    os.fchmod(file.fileno(), 0o755)
        staged.replace(target)
    except (ValueError, KeyError, RuntimeError, zipfile.BadZipFile):
        return False
    finally:
        staged.unlink(missing_ok=True)
    return True


def has_member(wheel: Path, name: str) -> bool | None:
    """Whether a wheel has a file of some name; None where it cannot be read."""
    import zipfile

    try:
        with zipfile.ZipFile(wheel) as archive:
            return name in archive.NameToInfo
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
