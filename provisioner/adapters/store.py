"""The store: blobs, kept pages and environments, each complete or absent."""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from provisioner.adapters._arrival import arrived, open_arrival
from provisioner.adapters._files import (
    NO_SPACE,
    holder_text,
    locked,
    no_space,
    read_json,
    stamp_of,
    sync_folder,
    throw_away,
    unless_read_only,
    write_whole,
)
from provisioner.core.digest import Digest
from provisioner.errors import GpuenvError, IntegrityError, LockHeldError, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from provisioner.adapters._arrival import Arrival
    from provisioner.core.blob_record import Stamp

FORMAT: Final = "1"

_NAME_CHARACTERS: Final = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPage:
    """An answer of an index as it came, or the blob that a URL turned out to be.

    `stored` is in seconds since the epoch; `digest` is set, and `body` empty, where the
    answer is a blob of the store.
    """

    url: str
    headers: dict[str, str]
    stored: float
    body: bytes = b""
    digest: Digest | None = None


class Store:
    """A folder that any number of processes may use at once, over others that are only read.

    What a store below holds counts as held, and nothing is ever written there.
    """

    def __init__(self, root: Path, lower: Iterable[Path] = ()) -> None:
        self.root = root
        self.lower = tuple(lower)
        self._refused: set[Path] = set()
        self._trash = root / "trash"

    @property
    def is_writable(self) -> bool:
        """Whether this user may add to the store itself."""
        return os.access(self.root, os.W_OK | os.X_OK)

    @property
    def is_there(self) -> bool:
        """Whether there is a store, and not just nothing, a file, or any folder."""
        return (self.root / "VERSION").is_file()

    @property
    def absence(self) -> str:
        """In words, that there is none."""
        return f"there is no store `{self.root}`"

    def require_writable(self, what: Iterable[str]) -> None:
        """Refuse what cannot be written to a store that is there; `what` are the causes.

        Raises:
            GpuenvError: the store cannot be written to, and something has to be.
        """
        causes = tuple(what)
        if not causes or self.is_writable or not self.root.exists():
            return
        message = f"the store `{self.root}` cannot be written to"
        raise GpuenvError(
            message,
            causes=causes,
            hint="choose another folder with `--store`; with "
            f"`GPUENV_STORE_LOWER={self.root}` it uses what is held here",
            code="store-read-only",
        )

    def open(self) -> None:
        """Make the store, where it is missing.

        Raises:
            GpuenvError: the store is of another format, or cannot be written.
        """
        version = self.root / "VERSION"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not version.exists():
                write_whole(version, f"{FORMAT}\n")
            found = version.read_text(encoding="utf-8").strip()
            if found == FORMAT and self.is_writable:
                for name in ("blobs/sha256", "envs", "partial", "pages"):
                    (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise no_space(error, version) from error
            message = f"cannot open the store `{self.root}`"
            raise GpuenvError(
                message,
                causes=(said(error),),
                hint="choose another folder with `--store` or `GPUENV_STORE`",
                code="store-unusable",
            ) from error
        self._expect(found)

    def check(self, *, writing: bool = True) -> None:
        """Look whether the store could be opened, for reading alone or not, and make nothing.

        Raises:
            GpuenvError: it is of another format, or cannot be written.
        """
        version = self.root / "VERSION"
        if version.exists():
            self._expect(version.read_text(encoding="utf-8").strip())
        if not writing:
            return
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        if folder == self.root and folder.is_dir() and not self.is_writable:
            message = f"the store `{self.root}` cannot be written to"
            hint = "whoever may write to it can do that, or `--store` names another one"
            raise GpuenvError(message, hint=hint, code="store-read-only")
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            message = f"cannot open the store `{self.root}`"
            raise GpuenvError(
                message,
                causes=(f"`{folder}` is no folder that this user may write to",),
                hint="choose another folder with `--store` or `GPUENV_STORE`",
                code="store-unusable",
            )

    def _expect(self, found: str) -> None:
        if found != FORMAT:
            message = f"the store `{self.root}` has another format"
            raise GpuenvError(
                message,
                causes=(f"this gpuenv knows format `{FORMAT}`, the store has `{found}`",),
                code="store-unusable",
            )

    def place(self, digest: Digest) -> Path:
        """Where a blob would be in the store itself."""
        return blob_path(self.root, digest)

    def blob(self, digest: Digest) -> Path:
        """Where a blob is, here or in a store below, or would be."""
        return self._find(digest) or self.place(digest)

    def _find(self, digest: Digest) -> Path | None:
        for root in (self.root, *self.lower):
            path = blob_path(root, digest)
            # Not through a link: that is no file of ours.
            if stamp_of(path) and path not in self._refused:
                return path
        return None

    def __contains__(self, digest: object) -> bool:
        """Whether a blob is held, by its name alone: only complete files ever get one."""
        return isinstance(digest, Digest) and self._find(digest) is not None

    @contextmanager
    def claim(
        self,
        key: str,
        waiting: Callable[[str], None],
        meanwhile: Callable[[], None] | None = None,
    ) -> Iterator[None]:
        """Let one process at a time fetch what `key` (hexadecimal digits) stands for.

        `waiting` is told once who is at it, and `meanwhile` called until they have ended.
        """
        path = self.root / "partial" / f"{key}.lock"
        with ExitStack() as stack:
            with unless_read_only():  # Nothing can be fetched into such a store.
                stack.enter_context(
                    locked(path, wait_seconds=float("inf"), waiting=waiting, meanwhile=meanwhile)
                )
            yield

    def claimant(self, key: str) -> str | None:
        """The other process that has claimed what a key stands for, in its own words."""
        if not (self.root / "partial" / f"{key}.lock").exists():
            return None
        holders: list[str] = []

        def leave() -> None:
            raise LockHeldError(key)

        try:
            with self.claim(key, holders.append, leave):
                return None
        except LockHeldError:
            return next((holder for holder in holders if holder != holder_text()), None)

    def arrived(self, key: str) -> tuple[int, int | None]:
        """How many bytes of what a key stands for are there, be it of how many."""
        return arrived(self.root / "partial", key)

    @contextmanager
    def arriving(self, key: str) -> Iterator[Arrival]:
        """The blob that arrives for a claimed key, with what an earlier try left of it.

        The key is the digest, where that is known. What is not finished stays for the next
        try if the server's validator is known, also where the file system is full.

        Raises:
            SpaceError: the file system is full.
        """
        partial = self.root / "partial"
        arrival = None
        try:
            arrival = open_arrival(partial, key)
            yield arrival
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise no_space(error, partial / key) from error
        finally:
            if arrival is not None:
                arrival.close()

    def keep(self, arrival: Arrival, expected: Digest | None, shown: str) -> Digest:
        """Make a whole arrival a blob: hashed, flushed, read-only, renamed.

        Without `expected` it is taken under its own hash.

        Raises:
            IntegrityError: the bytes have another hash; nothing is kept of them.
        """
        found = arrival.digest
        if expected is not None and found != expected:
            arrival.discard()
            message = f"`{shown}` has the wrong hash"
            raise IntegrityError(
                message,
                causes=(f"expected sha256 `{expected}`, got `{found}`",),
                hint="the index serves other bytes than the lock names; nothing was kept",
                code="wrong-hash",
            )
        path = self.place(found)
        is_new = not path.parent.exists()
        path.parent.mkdir(exist_ok=True)
        self._remove_other(path)
        arrival.publish(path)
        sync_folder(path.parent)
        if is_new:
            sync_folder(path.parent.parent)
        return found

    def keep_made(self, make: Callable[[IO[bytes]], str]) -> tuple[Digest, str]:
        """Keep a file that is made here as a blob, and what `make` says of it.

        It takes the place of an equal one, which may be damaged; one of a store below stays
        the one that counts.

        Raises:
            SpaceError: the file system is full.
        """
        import hashlib

        staged = self.root / "partial" / f"made-{os.urandom(8).hex()}"
        try:
            with staged.open("x+b") as file:
                told = make(file)
                file.seek(0)
                digest = Digest(hashlib.file_digest(file, "sha256").hexdigest())
                file.flush()
                os.fsync(file.fileno())
            path = self.place(digest)
            if self._find(digest) not in {None, path}:
                return digest, told
            staged.chmod(0o444)
            path.parent.mkdir(exist_ok=True)
            self._remove_other(path)
            staged.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            raise no_space(error, staged) from error
        finally:
            staged.unlink(missing_ok=True)
        return digest, told

    def page(self, key: str) -> StoredPage | None:
        """The latest that was kept under a key, here or in a store below, if anything."""
        import hashlib

        name = hashlib.sha256(key.encode()).hexdigest()
        found = [read_page(root / "pages" / f"{name}.json") for root in (self.root, *self.lower)]
        return max(filter(None, found), key=lambda page: page.stored, default=None)

    def pages_of(self, matches: Callable[[str], bool]) -> Iterator[StoredPage]:
        """Everything kept under URLs that match, in whatever form it was asked for."""
        for root in (self.root, *self.lower):
            for path in sorted((root / "pages").glob("[!.]*.json")):
                with suppress(AttributeError, KeyError, TypeError, ValueError):
                    head = read_json(path)
                    if matches(str(head["url"])) and (page := read_page(path)):
                        yield page

    def page_urls(self) -> Iterator[str]:
        """The URLs of everything kept, some of them more than once."""
        for root in (self.root, *self.lower):
            for path in (root / "pages").glob("[!.]*.json"):
                with suppress(AttributeError, KeyError, TypeError, ValueError):
                    yield str(read_json(path)["url"])

    def keep_page(self, key: str, page: StoredPage) -> None:
        """Keep an answer, where the store can be written to."""
        with unless_read_only():
            self._write_page(key, page)

    def _write_page(self, key: str, page: StoredPage) -> None:
        """The body is written first, under its hash, so that no head lacks one."""
        import hashlib

        head = asdict(page) | {"key": key}
        body = hashlib.sha256(page.body).hexdigest()[:16]
        path = self._page(key, f".{body}")
        previous = self._head(key)
        if page.digest is None and not path.exists():
            staged = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
            try:
                staged.write_bytes(page.body)
                staged.replace(path)
            except OSError as error:
                staged.unlink(missing_ok=True)
                raise no_space(error, path) from error
        head["digest"] = page.digest.hex if page.digest else None
        head["body"] = body
        write_whole(self._page(key, ".json"), json.dumps(head))
        if isinstance(previous, dict) and previous.get("body") not in {None, body}:
            self._page(key, f".{previous['body']}").unlink(missing_ok=True)

    def new_environment(self, label: str) -> Path:
        """A path that no environment ever had; uv makes the folder."""
        safe = re.sub("[^A-Za-z0-9_-]", "-", label)[:_NAME_CHARACTERS]
        return self.root / "envs" / f"{safe}-{os.urandom(4).hex()}"

    def has_environment(self, path: Path) -> bool:
        """Whether an environment lies, or would lie, in this store."""
        folder = self.root / "envs"
        return path.parent == folder or path.parent.resolve() == folder.resolve()

    def size(self, digest: Digest) -> int:
        """Bytes of a blob that is held; 0 for one that is not."""
        stamp = stamp_of(self.blob(digest))
        return stamp[0] if stamp else 0

    def verify(self, digest: Digest) -> bool:
        """Whether a blob still has its hash; one that is not held is not damaged."""
        from provisioner.adapters._hashing import hash_of

        found = hash_of(self.blob(digest))
        return isinstance(found, FileNotFoundError) or found == digest.hex

    def drop(self, digest: Digest, found: Stamp | None) -> bool:
        """Remove what was `found` damaged at a blob's place; whether it still lay there.

        Another process may have fetched it anew meanwhile. Where it cannot be removed it is
        held no longer for this run.
        """
        path = self.place(digest)
        if stamp_of(path) != found:
            return False
        with self.claim(digest.hex, lambda _: None):
            if stamp_of(path) != found:
                return False
            with unless_read_only():
                self._remove_other(path)
                path.unlink(missing_ok=True)
                return True
        self._refused.add(path)
        return True

    def refuse_below(self, digest: Digest) -> None:
        """Hold no longer, for this run, what the stores below have of a blob."""
        self._refused |= {blob_path(root, digest) for root in self.lower}

    def refuse(self, path: Path) -> None:
        """Hold no longer, for this run, what lies at a blob's path in a store below."""
        self._refused.add(path)

    def _remove_other(self, path: Path) -> None:
        """Remove a folder that somebody put where a blob belongs."""
        if path.is_dir() and not path.is_symlink() and (thrown := throw_away(path, self._trash)):
            import shutil

            shutil.rmtree(thrown, ignore_errors=True)

    def free_bytes(self) -> int:
        """Bytes free on the store's file system for this user."""
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def _head(self, key: str) -> object:
        try:
            return read_json(self._page(key, ".json"))
        except ValueError:
            return None

    def _page(self, key: str, suffix: str) -> Path:
        import hashlib

        name = hashlib.sha256(key.encode()).hexdigest()
        return self.root / "pages" / f"{name}{suffix}"


def read_page(head_path: Path) -> StoredPage | None:
    """A kept page by the path of its head; None where there is none that can be read."""
    try:
        head = read_json(head_path)
        if head is None:
            return None
        digest = head["digest"]
        return StoredPage(
            url=str(head["url"]),
            headers={str(name): str(value) for name, value in head["headers"].items()},
            stored=float(head["stored"]),
            body=b"" if digest else head_path.with_suffix(f".{head['body']}").read_bytes(),
            digest=Digest.parse(digest) if digest else None,
        )
    except (FileNotFoundError, AttributeError, KeyError, TypeError, ValueError):
        return None  # A page can be asked for again, unlike a state.


def blob_path(root: Path, digest: Digest) -> Path:
    """Where a blob of a store lies, or would."""
    return root / "blobs" / "sha256" / digest.hex[:2] / digest.hex


def lower_roots(
    variables: Mapping[str, str], root: Path
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The stores below a store, from `GPUENV_STORE_LOWER`, and why others are not used."""
    words = variables.get("GPUENV_STORE_LOWER", "").split(os.pathsep)
    named = dict.fromkeys(Path(word).absolute() for word in words if word)
    usable, faults = [], []
    for path in named:
        if path.resolve() == root.resolve():
            continue
        try:
            found = (path / "VERSION").read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            why = "there is no store"
        except OSError as error:
            why = said(error)
        else:
            why = f"this gpuenv knows format `{FORMAT}`, it has `{found}`"
            if found == FORMAT:
                usable.append(path)
                continue
        faults.append(f"the lower store `{path}` is not used: {why}")
    return tuple(usable), tuple(faults)


def default_root(variables: Mapping[str, str], home: Path) -> Path:
    """The store's folder: `GPUENV_STORE`, or in the user's data folder (XDG, or macOS's)."""
    if chosen := variables.get("GPUENV_STORE"):
        return Path(chosen).absolute()
    if base := variables.get("XDG_DATA_HOME"):
        return Path(base) / "gpuenv"
    library = home / "Library" / "Application Support"
    return (library if library.is_dir() else home / ".local" / "share") / "gpuenv"
