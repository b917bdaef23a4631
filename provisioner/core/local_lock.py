"""A lock for one machine: the files of a PEP 751 lock that its target takes, where they lie."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from packaging.markers import Marker
from packaging.pylock import (
    Package,
    PackageArchive,
    PackageDirectory,
    PackageSdist,
    PackageVcs,
    PackageWheel,
    Pylock,
)
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from provisioner.core.archives import WHEEL_ENDING
from provisioner.core.tags import markers, wheel_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.core.digest import Digest
    from provisioner.core.host import Platform
    from provisioner.core.interpreter import Interpreter


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFile:
    """A file of this machine: its own name, its path as the lock has it, its bytes."""

    name: str
    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalLock:
    """The TOML of a lock, and what is to be told of it."""

    data: Mapping[str, Any]
    notes: tuple[str, ...]


def local_lock(
    text: str,
    target: tuple[Interpreter, Platform],
    files: Mapping[str, LocalFile],
    path: Callable[[str], str],
    project: tuple[str, str] | None = None,
) -> LocalLock:
    """A valid lock with what a target takes, from here.

    `files` are by the SHA-256 that the lock `text`, which is valid, names: what lies here
    for it, which may be a wheel in the place of a source distribution. `path` tells the path
    that stands for one of the lock's own. `project` is a name, and the path of a folder as the
    lock's own has it, to be installed too.

    Folders are an extra of the lock: pip installs none beside files with hashes, and would
    refuse all the rest with them.
    """
    lock = Pylock.from_dict(tomllib.loads(text))
    chosen = lock.select(
        environment=markers(*target),  # type: ignore[arg-type]
        tags=wheel_tags(*target),
    )
    packages: list[Package] = []
    notes: list[str] = []
    for package, item in chosen:
        file = _local(item, files)
        packages.append(_package(package, item, file, path))
        if file is None and (note := _note(package.name, item)):
            notes.append(note)
    if project:
        name, where = canonicalize_name(project[0]), project[1]
        item = PackageDirectory(path=where, editable=True)
        packages.append(_package(Package(name=name, directory=item), item, None, path))
        notes.append(_folder_note(name, item))
    data = Pylock(
        lock_version=Version("1.0"),
        created_by="gpuenv",
        requires_python=lock.requires_python,
        extras=[FOLDERS] if any(package.directory for package in packages) else None,
        packages=packages,
    )
    data.validate()
    return LocalLock(data=data.to_dict(), notes=tuple(notes))


_Item = PackageVcs | PackageDirectory | PackageArchive | PackageWheel | PackageSdist


def _local(item: _Item, files: Mapping[str, LocalFile]) -> LocalFile | None:
    """What lies here for an item of a lock."""
    if isinstance(item, (PackageVcs, PackageDirectory)):
        return None
    return files.get(item.hashes.get("sha256", "").lower())


def _package(
    package: Package, item: _Item, file: LocalFile | None, path: Callable[[str], str]
) -> Package:
    """A package as the local lock has it: from a file of this machine, else as it was."""
    if file is None:
        there = item if item.path is None else replace(item, path=path(item.path))
        value: Any = [there] if isinstance(there, PackageWheel) else there
        where: dict[str, Any] = {_KEYS[type(item)]: value}
        marker = Marker(f"'{FOLDERS}' in extras") if package.directory else None
        return Package(name=package.name, version=package.version, marker=marker, **where)
    told: dict[str, Any] = {
        "path": file.path,
        "size": file.size,
        "hashes": {"sha256": file.digest.hex},
    }
    if file.name.endswith(WHEEL_ENDING):
        version = package.version or parse_wheel_filename(file.name)[1]
        return Package(name=package.name, version=version, wheels=[PackageWheel(**told)])
    if isinstance(item, PackageSdist):
        return Package(name=package.name, version=package.version, sdist=PackageSdist(**told))
    archive = PackageArchive(**told, subdirectory=getattr(item, "subdirectory", None))
    return Package(name=package.name, version=package.version, archive=archive)


FOLDERS: Final = canonicalize_name("folders")
"""The extra of a local lock that has all that is a folder."""

_KEYS: Final[Mapping[type, str]] = {
    PackageVcs: "vcs",
    PackageDirectory: "directory",
    PackageArchive: "archive",
    PackageWheel: "wheels",
    PackageSdist: "sdist",
}


def _note(name: str, item: _Item) -> str | None:
    """What a client does by itself for what is not in the store."""
    if isinstance(item, PackageVcs):
        return (
            f"`{name}` comes from {item.type}: uv fetches it itself, and pip, which has no hash "
            "to verify it by, refuses such a lock"
        )
    if isinstance(item, PackageDirectory):
        return _folder_note(name, item)
    if item.path is not None:
        return f"`{name}` comes from the file `{item.path}`, which has to stay where it is"
    return f"`{name}` has no link in the store, so that the client fetches it itself"


def _folder_note(name: str, item: PackageDirectory) -> str:
    """How clients install a folder."""
    words = f"{'-e ' if item.editable else ''}{item.path}"
    return (
        f"`{name}` is a folder, which `uv pip sync --extra {FOLDERS}` installs from a local lock; "
        f"pip does by `pip install --no-deps {words}`"
    )
