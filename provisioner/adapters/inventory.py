"""What lies in the store's folder, how much of the disk it takes, and its trash."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from provisioner.adapters._files import DAMAGED, names_in, read_json, remove_unheld, throw_away
from provisioner.adapters._whereabouts import Site, site_from_json
from provisioner.core.digest import Digest, is_digest

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path

_STAGED: Final = re.compile(r"\..+\.[0-9a-f]{12,16}")
"""A file that is about to get its name: a dot, the name, and a random number."""

_MARK: Final = ".json"
_HOLE_BYTES: Final = 1 << 20
_NOWHERE: Final = Site()
_BODY: Final = re.compile(r"[0-9a-f]+")
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_FOLDERS: Final = (
    "blobs",
    "envs",
    "first-seen",
    "layers",
    "pages",
    "pins",
    "records",
    "roots",
    "simple",
    "",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A finished environment's own account of its origin.

    `blobs` are None where the environment was made before they were noted, and `built` are
    those of them that were built for it; `used` is when it was made or used last, in seconds
    since the epoch, and `site` where its project lay.
    """

    folder: str | None
    profile: str | None
    blobs: frozenset[Digest] | None
    used: float
    site: Site = _NOWHERE
    built: frozenset[Digest] = frozenset()
    links: str | None = None
    otherwise: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A folder in `envs/`; `mark` is None where it was never finished, or has lost it."""

    path: Path
    changed: float
    mark: Mark | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What lies in `partial/` under one key, locks apart."""

    key: str
    paths: tuple[Path, ...]
    changed: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Files and their bytes, each file once however many links it has.

    `shared` are the bytes of files that have links elsewhere too, such as in uv's cache:
    removing these here frees nothing.
    """

    files: int = 0
    bytes: int = 0
    shared: int = 0

    def to_json(self) -> dict[str, int]:
        """As `--json` has it."""
        return {"files": self.files, "bytes": self.bytes, "shared_bytes": self.shared}


@dataclass
class _Links:
    size: int
    links: int
    seen: int = field(default=0)


class Inventory:
    """A store's folder, looked at from the outside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environments_folder = root / "envs"
        self._trash = root / "trash"

    def blobs(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """Everything that stands where a blob would, whatever it is."""
        # Strings and not paths: verifying by stat is about looking at these quickly.
        folders = f"{self.root}/blobs/sha256"
        for folder in names_in(folders):
            with suppress(FileNotFoundError), os.scandir(f"{folders}/{folder}") as entries:
                for entry in entries:
                    if is_digest(entry.name) and entry.name.startswith(folder):
                        with suppress(FileNotFoundError):
                            yield Digest(entry.name), entry.stat(follow_symlinks=False)

    def environments(self) -> tuple[Environment, ...]:
        """Every environment, finished or not."""
        found = []
        for path in _entries(self.environments_folder):
            if path.is_dir() and not path.is_symlink():
                changed = _modified(path)
                if changed is not None:
                    found.append(Environment(path=path, changed=changed, mark=read_mark(path)))
        return tuple(found)

    def unfinished(self) -> Iterator[tuple[Path, float]]:
        """Environments without a mark, and folders that were to be none, with their times."""
        names = names_in(str(self.environments_folder))
        marked = {name.removesuffix(_MARK) for name in names if name.endswith(_MARK)}
        for name in sorted({*names} - marked):
            path = self.environments_folder / name
            changed = _modified(path)
            if changed is not None and path.is_dir() and not path.is_symlink():
                yield path, changed

    def lost_marks(self) -> Iterator[Path]:
        """Marks of environments that are gone."""
        for path in _entries(self.environments_folder):
            is_mark = path.suffix == ".json" and not path.name.startswith(".")
            if is_mark and not path.with_suffix("").is_dir():
                yield path

    def parts(self) -> tuple[Part, ...]:
        """What has arrived in part, by key; `""` for what has none."""
        every: dict[str, list[Path]] = {}
        for path in _entries(self.root / "partial"):
            if path.suffix not in {".lock", ".held"}:
                key = _KEY.match(path.name)
                every.setdefault(key[0] if key else "", []).append(path)
        return tuple(
            Part(
                key=key,
                paths=tuple(paths),
                changed=max((_modified(path) or 0.0 for path in paths), default=0.0),
            )
            for key, paths in every.items()
        )

    def claim_lock(self, key: str) -> Path:
        """The lock of whoever fetches what a key stands for."""
        return self.root / "partial" / f"{key}.lock"

    def remove_claim_locks(self) -> int:
        """Remove the locks in `partial/` that nobody holds, and tell how many."""
        return sum(remove_unheld(path) for path in self.root.glob("partial/*.lock"))

    def pages(self) -> Iterator[tuple[Path, dict[str, Any] | None]]:
        """The heads of kept pages, with None for one that cannot be read."""
        for path in _entries(self.root / "pages"):
            if path.suffix == ".json" and not path.name.startswith("."):
                try:
                    head = read_json(path)
                except ValueError:
                    head = None
                yield path, head if _is_head(head) else None

    def page_bodies(self) -> Iterator[Path]:
        """The bodies of kept pages."""
        for path in _entries(self.root / "pages"):
            if path.suffix != ".json" and not path.name.startswith("."):
                yield path

    def staged(self) -> Iterator[tuple[Path, float]]:
        """Files that were about to get their name, and when they were written."""
        for name in _FOLDERS:
            folder = self.root / name if name else self.root
            deep = name in {"blobs", "first-seen", "records", "simple"}
            for path in folder.rglob(".*") if deep else folder.glob(".*"):
                changed = _modified(path)
                if _STAGED.fullmatch(path.name) and changed is not None and path.is_file():
                    yield path, changed

    def throw_away(self, path: Path) -> Path | None:
        """Move something into the trash by one rename; None where it is gone already."""
        return throw_away(path, self._trash)

    def empty_trash(self) -> None:
        """Delete what lies in the trash."""
        for path in _entries(self._trash):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def usage(paths: Iterable[Path]) -> Usage:
    """What files and folders take of the disk together."""
    links: dict[tuple[int, int], _Links] = {}
    for path in paths:
        for found in _files(path):
            item = links.setdefault(
                (found.st_dev, found.st_ino), _Links(_taken(found), found.st_nlink)
            )
            item.seen += 1
    return Usage(
        files=len(links),
        bytes=sum(item.size for item in links.values()),
        shared=sum(item.size for item in links.values() if item.links > item.seen),
    )


def usage_without(root: Path, gone: Iterable[Path]) -> int:
    """The bytes that a folder would take without some of what is in it.

    A file goes with the last of its names in the folder.
    """
    sizes: dict[tuple[int, int], int] = {}
    names: Counter[tuple[int, int]] = Counter()
    for found in _files(root):
        sizes[found.st_dev, found.st_ino] = _taken(found)
        names[found.st_dev, found.st_ino] += 1
    names.subtract((found.st_dev, found.st_ino) for path in gone for found in _files(path))
    return sum(size for inode, size in sizes.items() if names[inode] > 0)


class Beside:
    """What lies in a store beside its blobs and its trash, measured once, thing by thing."""

    def __init__(self, root: Path) -> None:
        things = (
            thing
            for folder in _entries(root)
            if folder.name not in {"blobs", "trash"}
            for thing in (_entries(folder) or [folder])
        )
        self._files = {
            thing: [(found.st_dev, found.st_ino, _taken(found)) for found in _files(thing)]
            for thing in things
        }

    def without(self, gone: Container[Path]) -> int:
        """The bytes of all but some things, each file once however many links it has."""
        sizes = {
            (device, inode): size
            for thing, files in self._files.items()
            if thing not in gone
            for device, inode, size in files
        }
        return sum(sizes.values())


def _taken(found: os.stat_result) -> int:
    """Bytes on the disk: large files that arrive in parts have holes."""
    arriving = stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IWUSR
    if arriving and found.st_size > _HOLE_BYTES:
        return min(found.st_size, found.st_blocks * 512)
    return found.st_size


def _files(path: Path) -> Iterator[os.stat_result]:
    """The files in a folder, links as themselves; a file alone is its own."""
    try:
        found = path.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode):
        yield found
        return
    waiting = [str(path)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False)
        except OSError:
            continue  # It is gone meanwhile, or not ours to read.


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_head(head: Any) -> TypeGuard[dict[str, Any]]:  # noqa: ANN401 - as JSON has it
    # The body's name ends with it.
    body = head.get("body") if isinstance(head, dict) else None
    return isinstance(body, str) and _BODY.fullmatch(body) is not None


def _modified(path: Path) -> float | None:
    try:
        return path.lstat().st_mtime
    except OSError:
        return None


def read_mark(environment: Path) -> Mark | None:
    """An environment's own account of its origin; None where it was never finished."""
    path = environment.with_name(f"{environment.name}.json")
    used = _modified(path)
    if used is None:
        return None
    try:
        data = read_json(path)
        blobs = data.get("blobs")
        return Mark(
            folder=data.get("project"),
            profile=data.get("profile"),
            blobs=None if blobs is None else frozenset(Digest.parse(text) for text in blobs),
            used=used,
            site=site_from_json(data["site"]) if "site" in data else _NOWHERE,
            built=frozenset(Digest.parse(item["sha256"]) for item in data.get("built", [])),
            links=data.get("links"),
            otherwise=frozenset(data.get("otherwise", ())),
        )
    except DAMAGED:
        return Mark(folder=None, profile=None, blobs=None, used=used)
