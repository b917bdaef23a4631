"""Wheels and source distributions, looked into just far enough to tell whether they are such."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.core.archives import (
    SOURCE_ENDINGS,
    WHEEL_ENDING,
    info_folders,
    source_faults,
    wheel_faults,
)
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path
    from typing import BinaryIO

UNFIT: Final = "archive-invalid"

_METADATA_BYTES: Final = 8 << 20
# `PKG-INFO` comes early in most source distributions, and last in those of some tools.
_MEMBERS: Final = 2000
_UNPACKED_BYTES: Final = 32 << 20
_PROJECT_BYTES: Final = 1 << 20


def check_archive(path: Path, name: str) -> None:
    """Refuse a wheel or source distribution that is none, or not the one of its file name.

    A file of another kind is let pass. A wheel's list of members and its metadata are read,
    of a compressed source distribution the beginning.

    Raises:
        IntegrityError: it is unfit, for these causes.
    """
    lowered = name.lower()
    if lowered.endswith(WHEEL_ENDING):
        kind, faults = "wheel", _of_zip(path, name, is_wheel=True)
    elif lowered.endswith(".zip"):
        kind, faults = "source distribution", _of_zip(path, name, is_wheel=False)
    elif lowered.endswith(SOURCE_ENDINGS):
        kind, faults = "source distribution", _of_tar(path, name)
    else:
        return
    if faults:
        message = f"`{name}` is not a valid {kind}"
        raise IntegrityError(
            message,
            causes=faults,
            hint="its publisher has to mend it; nothing was kept",
            code=UNFIT,
        )


def project_file(source: BinaryIO, name: str) -> bytes | None:
    """The `pyproject.toml` of a small source distribution, at its top or in its one folder.

    None where there is none, or the archive cannot be read. One that turns out to be large is
    not read to its end.
    """
    import struct
    import tarfile
    import zipfile
    import zlib

    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(source) as archive:
                found = next((m for m in archive.namelist() if _is_project_file(m)), "")
                return _read(archive, found, _PROJECT_BYTES)
        # Nothing but gzip, which cannot make much of little.
        with tarfile.open(fileobj=source, mode="r|gz") as tar:
            for member in tar:
                if member.offset_data + member.size > _PROJECT_BYTES:
                    return None
                if member.isfile() and _is_project_file(member.name):
                    file = tar.extractfile(member)
                    return file.read() if file else None
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ):
        return None
    return None


def _is_project_file(member: str) -> bool:
    """Stubs of `nvidia-stub` lie at the top of their archive, all others in a folder."""
    parts = member.removeprefix("./").split("/")
    return parts[-1] == "pyproject.toml" and len(parts) <= 2  # noqa: PLR2004 - folder and file


def _of_zip(path: Path, name: str, *, is_wheel: bool) -> tuple[str, ...]:
    import struct
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            # `filename` ends at the first NUL.
            members = [entry.orig_filename for entry in archive.infolist()]
            if is_wheel:
                folders = info_folders(members)
                wanted = f"{folders[0]}/METADATA" if len(folders) == 1 else ""
                return wheel_faults(name, members, _read(archive, wanted))
            inside = (member for member in members if _is_pkg_info(member))
            return source_faults(name, _read(archive, next(inside, "")))
    # What zipfile raises for bytes that are no archive, or one that nobody could unpack.
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        return (f"it cannot be read as a zip file: {error}",)


def _read(archive: zipfile.ZipFile, member: str, most: int = _METADATA_BYTES) -> bytes | None:
    try:
        with archive.open(member) as file:
            return file.read(most)
    except KeyError:
        return None


def _of_tar(path: Path, name: str) -> tuple[str, ...]:
    import lzma
    import tarfile
    import zlib

    try:
        # As a stream: one of the other kind would be read to its end for its last members.
        with tarfile.open(path, "r|*") as archive:
            for number, member in enumerate(archive):
                if member.isfile() and _is_pkg_info(member.name):
                    file = archive.extractfile(member)
                    return source_faults(name, file.read(_METADATA_BYTES) if file else None)
                if number >= _MEMBERS or member.offset_data + member.size > _UNPACKED_BYTES:
                    break
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        return (f"it cannot be read as a tar file: {error}",)
    return ()


def _is_pkg_info(member: str) -> bool:
    """Whether a member is the metadata in the archive's one folder (PEP 643)."""
    return member.count("/") == 1 and member.endswith("/PKG-INFO")
