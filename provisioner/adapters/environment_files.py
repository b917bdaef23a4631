"""The files that packages have put into an environment: protected, and looked at for damage."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.adapters._hashing import hash_all, processors
from provisioner.core.installed_files import FileDamage, latest_times, rows_of, told_hash
from provisioner.core.project import normalise
from provisioner.errors import said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.core.installed_files import Row

_WRITE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_SMALL_BYTES: Final = 1 << 18
_INFO: Final = ".dist-info"
_ABOVE_SITE: Final = 3
"""How many folders an environment lies above its `site-packages`: `lib/python3.12/…`."""


@dataclass(kw_only=True)
class Looked:
    """What came of looking at environments: how many files, and what is wrong by environment.

    Each file was hashed once, however many environments share it.
    """

    files: int = 0
    hashed: int = 0
    hashed_bytes: int = 0
    damage: dict[Path, list[FileDamage]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A file that has to be hashed."""

    environment: Path
    package: str
    row: Row
    path: Path
    found: os.stat_result

    @property
    def inode(self) -> tuple[int, int]:
        return self.found.st_dev, self.found.st_ino


def protect(environment: Path) -> Looked:
    """Take the permission to write from what an environment shares by hard links.

    Those are files of uv's cache and of other environments, so that what is protected once is
    protected for all. What an installer writes for one environment alone (scripts, `RECORD`,
    `direct_url.json`, …) has no other name, and stays as it is. On the way it is looked whether
    the cache had what the packages' `RECORD` tells.
    """
    return look([environment], protecting=True)


def look(environments: Iterable[Path], *, deep: bool = False, protecting: bool = False) -> Looked:
    """Look for damage, by a stat a file; `deep` hashes every file.

    A stat tells a wrong size, and that a file was written to after it was installed, which is
    no damage where its hash is the one in the `RECORD`. Nor is it damage where two packages have
    a file of one path, and it is that of either. Links are never followed, and what no `RECORD`
    names is left alone.
    """
    looked = Looked()
    doubts: list[_Doubt] = []
    for environment in environments:
        looked.damage[environment] = []
        for info in _packages(environment):
            doubts += _look(environment, info, looked, deep=deep, protecting=protecting)
    _hash(looked, doubts)
    for environment, damage in looked.damage.items():
        looked.damage[environment] = _without_overwritten(environment, damage)
    return looked


def _packages(environment: Path) -> Iterator[Path]:
    for site in sorted(environment.glob("lib/python*/site-packages")):
        for info in sorted(site.glob(f"*{_INFO}")):
            if (info / "METADATA").exists():  # Not what an installer could not remove.
                yield info


def _without_overwritten(environment: Path, damage: list[FileDamage]) -> list[FileDamage]:
    """Damage without the files that another package has as well, which was installed later."""
    paths = {item.path for item in damage if item.fault in {"wrong-size", "wrong-hash"}}
    if not paths:
        return damage
    named: dict[str, list[tuple[Path, Row]]] = {path: [] for path in paths}
    for info in _packages(environment):
        with suppress(OSError, ValueError):
            for row in rows_of((info / "RECORD").read_bytes().decode(), _ABOVE_SITE):
                if row.path in paths:
                    named[row.path].append((info.parent / row.path, row))
    right = {
        path
        for path, rows in named.items()
        if len(rows) > 1 and any(_is_as_told(*row) for row in rows)
    }
    return [item for item in damage if item.path not in right]


def _is_as_told(path: Path, row: Row) -> bool:
    expected = told_hash(row.hash)
    try:
        size = path.stat().st_size
    except OSError:
        return False
    if expected is None or row.size not in {None, size}:
        return False
    return _hash_by(expected[0], path, size) == expected[1]


def _look(
    environment: Path, info: Path, looked: Looked, *, deep: bool, protecting: bool
) -> list[_Doubt]:
    package = normalise(info.name.removesuffix(_INFO).rpartition("-")[0])
    damage = looked.damage[environment]
    name = f"{info.name}/RECORD"
    try:
        record = info / "RECORD"
        written = record.lstat().st_mtime_ns
        rows = list(rows_of(record.read_bytes().decode(), _ABOVE_SITE))
    except FileNotFoundError:
        damage.append(FileDamage(package=package, path=name, fault="missing"))
        return []
    except (OSError, ValueError) as error:
        why = said(error) if isinstance(error, OSError) else str(error)
        damage.append(FileDamage(package=package, path=name, fault="unreadable", more=why))
        return []
    latest = latest_times(written, _time_of(info / "METADATA"))
    site = str(info.parent)
    real = _RealFolders(site)
    doubts = []
    for row in rows:
        path = f"{site}/{row.path}"
        looked.files += 1
        try:
            found = os.lstat(path)
        except OSError:
            damage.append(FileDamage(package=package, path=row.path, fault="missing"))
            continue
        if not stat.S_ISREG(found.st_mode):
            # uv makes links where it is told to, which lead to its cache.
            if not stat.S_ISLNK(found.st_mode) or not os.path.exists(path):  # noqa: PTH110
                damage.append(FileDamage(package=package, path=row.path, fault="replaced"))
            continue
        shared = found.st_nlink > 1
        if protecting and shared and found.st_mode & _WRITE and row.path in real:
            # Another user's cache is not ours to protect, nor to spoil.
            with suppress(OSError):
                os.chmod(path, stat.S_IMODE(found.st_mode) & ~_WRITE)  # noqa: PTH101
        if row.size is not None and found.st_size != row.size:
            more = f"expected {row.size} bytes, got {found.st_size}"
            damage.append(
                FileDamage(
                    package=package, path=row.path, fault="wrong-size", more=more, shared=shared
                )
            )
        elif row.hash and (deep or found.st_mtime_ns > latest[shared]):
            doubts.append(_Doubt(environment, package, row, info.parent / row.path, found))
    return doubts


class _RealFolders:
    """Whether files lie where their paths say, and no folder on the way is a link."""

    def __init__(self, site: str) -> None:
        self._known = {"": True}
        self._site = site

    def __contains__(self, path: str) -> bool:
        folder = path.rpartition("/")[0]
        known = self._known.get(folder)
        if known is None:
            known = folder in self and not os.path.islink(f"{self._site}/{folder}")  # noqa: PTH114
            self._known[folder] = known
        return known


def _time_of(path: Path) -> int | None:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return None


def _hash(looked: Looked, doubts: list[_Doubt]) -> None:
    """Hash what is in doubt, each file once, the largest first."""
    files = {doubt.inode: doubt for doubt in doubts}
    order = sorted(files.values(), key=lambda item: -item.found.st_size)
    told = {item.inode: told_hash(item.row.hash) or ("", "") for item in order}
    # Of small files there are too many to hand each to a thread.
    large = [
        item
        for item in order
        if item.found.st_size > _SMALL_BYTES and told[item.inode][:1] == ("sha256",)
    ]
    found = hash_all((item.path for item in large), threads=processors())
    hashes: dict[tuple[int, int], str | OSError | None] = dict(
        zip((item.inode for item in large), found, strict=True)
    )
    for item in order:
        if item.inode not in hashes:
            algorithm = told[item.inode][0]
            hashes[item.inode] = _hash_by(algorithm, item.path, item.found.st_size)
    looked.hashed += len(hashes)
    looked.hashed_bytes += sum(files[inode].found.st_size for inode in hashes)
    for doubt in doubts:
        _judge(looked, doubt, hashes)


def _judge(
    looked: Looked, doubt: _Doubt, hashes: Mapping[tuple[int, int], str | OSError | None]
) -> None:
    expected, found = told_hash(doubt.row.hash), hashes.get(doubt.inode)
    if expected is None or found in {None, expected[1]}:
        return
    looked.damage[doubt.environment].append(
        FileDamage(
            package=doubt.package,
            path=doubt.row.path,
            fault="unreadable" if isinstance(found, OSError) else "wrong-hash",
            more=said(found)
            if isinstance(found, OSError)
            else f"expected {expected[0]} `{expected[1]}`, got `{found}`",
            shared=doubt.found.st_nlink > 1,
        )
    )


def _hash_by(algorithm: str, path: Path, size: int) -> str | OSError | None:
    """The hash of a file; None where Python knows no such hash."""
    try:
        if size <= _SMALL_BYTES:
            return hashlib.new(algorithm, path.read_bytes()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        return error
    except ValueError:
        return None
