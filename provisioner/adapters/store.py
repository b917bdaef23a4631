"""The store: blobs, kept pages and environments, each complete or absent."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters._files import locked, no_space, read_json, sync_folder, write_whole
from provisioner.core.digest import Digest
from provisioner.errors import GpuenvError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

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
    """A folder that any number of processes may use at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> None:
        """Make the store, where it is missing.

        Raises:
            GpuenvError: the store is of another format, or cannot be written.
        """
        version = self.root / "VERSION"
        try:
            for name in ("blobs/sha256", "envs", "partial", "pages"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            if not version.exists():
                write_whole(version, f"{FORMAT}\n")
            found = version.read_text(encoding="utf-8").strip()
        except OSError as error:
            message = f"cannot open the store `{self.root}`"
            raise GpuenvError(
                message, causes=((error.strerror or str(error)).lower(),), code="store-unusable"
            ) from error
        if found != FORMAT:
            message = f"the store `{self.root}` has another format"
            raise GpuenvError(
                message,
                causes=(f"this gpuenv knows format `{FORMAT}`, the store has `{found}`",),
                code="store-unusable",
            )

    def blob(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return self.root / "blobs" / "sha256" / digest.hex[:2] / digest.hex

    def __contains__(self, digest: object) -> bool:
        """Whether a blob is held, by its name alone: only complete files ever get one."""
        return isinstance(digest, Digest) and self.blob(digest).is_file()

    @contextmanager
    def claim(self, key: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Let one process at a time fetch what `key` (hexadecimal digits) stands for."""
        path = self.root / "partial" / f"{key}.lock"
        with locked(path, wait_seconds=float("inf"), waiting=waiting):
            yield

    def receive(self, blocks: Iterable[bytes], expected: Digest | None, shown: str) -> Digest:
        """Write a blob while its bytes arrive: hashed, flushed, read-only, renamed.

        Without `expected` whatever arrives is taken under its own hash.

        Raises:
            IntegrityError: the bytes have another hash; nothing is kept of them.
            SpaceError: the file system is full; nothing is kept of them.
        """
        import hashlib

        staged = self.root / "partial" / f"{os.urandom(16).hex()}.part"
        hasher = hashlib.sha256()
        try:
            with staged.open("xb", buffering=0) as file:
                for block in blocks:
                    hasher.update(block)
                    file.write(block)
                os.fdatasync(file.fileno())
                os.fchmod(file.fileno(), 0o444)
            found = Digest.parse(hasher.hexdigest())
            if expected is not None and found != expected:
                message = f"`{shown}` has the wrong hash"
                raise IntegrityError(
                    message,
                    causes=(f"expected sha256 `{expected}`, got `{found}`",),
                    hint="the index serves other bytes than the lock names; nothing was kept",
                    code="wrong-hash",
                )
            path = self.blob(found)
            path.parent.mkdir(exist_ok=True)
            staged.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            raise no_space(error, staged) from error
        finally:
            staged.unlink(missing_ok=True)
        return found

    def page(self, key: str) -> StoredPage | None:
        """What was kept under a key, if anything."""
        head = read_json(self._page(key, ".json"))
        if not isinstance(head, dict):
            return None
        digest = head.get("digest")
        try:
            body = b"" if digest else self._page(key, f".{head['body']}").read_bytes()
        except FileNotFoundError:
            return None
        return StoredPage(
            url=head["url"],
            headers=head["headers"],
            stored=head["stored"],
            body=body,
            digest=Digest.parse(digest) if digest else None,
        )

    def keep_page(self, key: str, page: StoredPage) -> None:
        """Keep an answer. The body is written first, under its hash, so that no head lacks one."""
        import hashlib

        head = asdict(page)
        body = hashlib.sha256(page.body).hexdigest()[:16]
        path = self._page(key, f".{body}")
        previous = read_json(self._page(key, ".json"))
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
        safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in label)[:_NAME_CHARACTERS]
        return self.root / "envs" / f"{safe}-{os.urandom(4).hex()}"

    def register_environment(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Mark a finished environment as ours; the mark lies beside it."""
        write_whole(self._mark(path), json.dumps(dict(facts), indent=1) + "\n")

    def owns(self, path: Path) -> bool:
        """Whether an environment was made by gpuenv, in this store or in another one."""
        return path.parent.name == "envs" and self._mark(path).is_file()

    def discard_environment(self, path: Path) -> None:
        """Remove an environment that was never finished."""
        if path.parent == self.root / "envs":
            import shutil

            shutil.rmtree(path, ignore_errors=True)

    def free_bytes(self) -> int:
        """Bytes free on the store's file system for this user."""
        folder = next(path for path in (self.root, *self.root.parents) if path.exists())
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def _mark(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.json")

    def _page(self, key: str, suffix: str) -> Path:
        import hashlib

        name = hashlib.sha256(key.encode()).hexdigest()
        return self.root / "pages" / f"{name}{suffix}"


def default_root(variables: Mapping[str, str], home: Path) -> Path:
    """The store's folder: `GPUENV_STORE`, or in the user's data folder (XDG, or macOS's)."""
    if chosen := variables.get("GPUENV_STORE"):
        return Path(chosen).absolute()
    if base := variables.get("XDG_DATA_HOME"):
        return Path(base) / "gpuenv"
    library = home / "Library" / "Application Support"
    return (library if library.is_dir() else home / ".local" / "share") / "gpuenv"
