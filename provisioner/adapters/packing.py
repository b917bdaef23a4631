"""Wheels out of the distributions that are installed in an environment."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import stat
from typing import IO, TYPE_CHECKING, Final

from provisioner.core.built_wheel import (
    INFO,
    RECORD,
    Installed,
    Member,
    members,
    portable,
    wheel_name,
)
from provisioner.core.project import normalise

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path

_BLOCK_BYTES: Final = 1 << 20
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})


def installed_in(environment: Path, package: str) -> Installed | None:
    """What an environment tells of a package, named as normalised; None where it is not there.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    for info in sorted(environment.glob(f"lib/*/site-packages/*{INFO}")):
        if normalise(info.name.removesuffix(INFO).rpartition("-")[0]) == package:
            rows = _rows(_text(info / RECORD))
            return Installed(
                site=info.parent.relative_to(environment).as_posix(),
                info=info.name,
                paths=tuple(row[0] for row in rows),
                hashes={row[0]: row[1] for row in rows},
                metadata=_text(info / "METADATA"),
                wheel=_text(info / "WHEEL"),
                entry_points=_text(info / "entry_points.txt", ""),
            )
    return None


def _rows(record: str) -> list[tuple[str, ...]]:
    """The rows of a `RECORD`, each with a hash, if only an empty one."""
    try:
        return [(*row, "") for row in csv.reader(io.StringIO(record, newline="")) if row]
    except csv.Error as error:
        message = f"its `{RECORD}` cannot be read: {error}"
        raise ValueError(message) from error


def pack(environment: Path, installed: Installed, file: IO[bytes]) -> str:
    """Write the wheel of a distribution, and tell its file name.

    Equal distributions make equal bytes. Nothing is compressed: that would take longer than
    all the rest, and no two versions of zlib need agree.

    Raises:
        OSError: a file cannot be read, or the wheel not be written.
        ValueError: what is installed cannot have come from a wheel, or was changed since.
    """
    import zipfile

    name = wheel_name(installed)
    places = tuple({str(environment), os.path.realpath(environment)})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        rows = [_add(archive, environment, member, places) for member in members(installed)]
        record = f"{installed.info}/{RECORD}"
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, (record, "", "")])
        archive.writestr(_entry(record, executable=False), text.getvalue().encode())
    return name


def _add(
    archive: zipfile.ZipFile, environment: Path, member: Member, places: tuple[str, ...]
) -> tuple[str, str, str]:
    """Add a file, and tell its row of the `RECORD`; ValueError where it is not as installed."""
    hasher, before = hashlib.sha256(), _hasher_of(member.told)
    with (environment / member.source).open("rb") as source:
        found = os.fstat(source.fileno())
        block = source.read(_BLOCK_BYTES)
        size = found.st_size - len(block)
        if before:
            before.update(block)
        if member.is_script:
            block = portable(block, places)
        size += len(block)
        executable = member.is_script or bool(found.st_mode & 0o111)
        entry = _entry(member.name, executable=executable)
        # Known beforehand, so that zipfile can choose the 64-bit form.
        entry.file_size = size
        with archive.open(entry, "w") as target:
            while block:
                hasher.update(block)
                target.write(block)
                block = source.read(_BLOCK_BYTES)
                if before:
                    before.update(block)
    if before and _told_by(before) != member.told:
        message = f"`{member.source}` was changed after it was installed"
        raise ValueError(message)
    return member.name, _told_by(hasher), str(size)


def _hasher_of(told: str) -> hashlib._Hash | None:
    """What makes such a hash (PEP 427: SHA-256 or better); None where nothing is told."""
    name = told.partition("=")[0]
    return hashlib.new(name) if name in _HASHES else None


def _told_by(hasher: hashlib._Hash) -> str:
    """A hash as a `RECORD` has it."""
    text = base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode()
    return f"{hasher.name}={text}"


def _entry(name: str, *, executable: bool) -> zipfile.ZipInfo:
    import zipfile

    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    entry.create_system = _UNIX
    return entry


def _text(path: Path, default: str | None = None) -> str:
    try:
        # Not as lines: a name in `RECORD` may have a line end.
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        if default is None:
            raise
        return default
