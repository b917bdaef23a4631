"""Bundles as tar archives, written and read as a stream.

The headers are the standard library's, in GNU's form: any `tar` lists and unpacks a bundle. It
is read by a few lines of our own, since here only plain files with the names of a manifest
are to be found: nothing else that a header may say (links, sparse files, names of any length)
is acted upon.
"""

from __future__ import annotations

import os
import tarfile
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final

from provisioner.adapters._files import NO_SPACE, sync_folder
from provisioner.errors import GpuenvError, IntegrityError, SpaceError, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_BLOCK_BYTES: Final = 1 << 20
_UNIT: Final = tarfile.BLOCKSIZE


class BundleWriter:
    """Writes members one after the other; `modified` is the time of each, in seconds."""

    def __init__(self, file: IO[bytes], modified: int) -> None:
        self._file = file
        self._modified = modified
        self.written = 0

    def add(self, path: str, size: int, blocks: Iterable[bytes]) -> None:
        """Write a member, whose blocks have to make up its size.

        Raises:
            IntegrityError: they do not.
        """
        header = tarfile.TarInfo(path)
        header.size = size
        header.mtime = self._modified
        self._write(header.tobuf(tarfile.GNU_FORMAT))
        left = size
        for block in blocks:
            left -= len(block)
            self._write(block)
        if left:
            message = f"`{path}` has changed while it was written"
            cause = f"expected {size} bytes, got {size - left}"
            raise IntegrityError(message, causes=(cause,), code="blob-damaged")
        self._write(bytes(-size % _UNIT))

    def end(self) -> None:
        """Write the end, without which a bundle counts as cut off."""
        self._write(bytes(2 * _UNIT))
        self._write(bytes(-self.written % tarfile.RECORDSIZE))
        self._file.flush()

    def _write(self, block: bytes) -> None:
        self._file.write(block)
        self.written += len(block)


class BundleReader:
    """Reads members one after the other, each to its end or not at all."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = 0
        self._padding = 0

    def members(self) -> Iterator[tuple[str, int]]:
        """Name and size of each member; its bytes come from `blocks` meanwhile.

        Raises:
            IntegrityError: the bundle is cut off, or has something else than plain files.
        """
        while True:
            self._skip(self._left + self._padding)
            header = self._read(_UNIT)
            if not any(header):
                self._expect_end()
                return
            try:
                found = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            except (tarfile.HeaderError, ValueError) as error:
                raise _damaged(str(error) or "a header cannot be read") from error
            if found.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or found.size < 0:
                why = f"`{found.name!a}` is no plain file"
                raise _damaged(why)
            self._left, self._padding = found.size, -found.size % _UNIT
            yield found.name, found.size

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the member.

        Raises:
            IntegrityError: the bundle is cut off.
        """
        while self._left:
            block = self._read(min(self._left, _BLOCK_BYTES))
            self._left -= len(block)
            yield block

    def _expect_end(self) -> None:
        while block := self._file.read(_BLOCK_BYTES):
            if any(block):
                why = "something stands behind its end"
                raise _damaged(why)

    def _skip(self, size: int) -> None:
        if self._file.seekable():
            self._file.seek(size, os.SEEK_CUR)
        else:
            while size:
                size -= len(self._read(min(size, _BLOCK_BYTES)))
        self._left = self._padding = 0

    def _read(self, size: int) -> bytes:
        block = self._file.read(size)
        if len(block) < size:
            why = "it is cut off"
            raise _damaged(why, hint="copy it again, whole")
        return block


@contextmanager
def new_bundle(path: Path, *, replace: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole, and else leaves nothing.

    Raises:
        GpuenvError: there is one already, or it cannot be written.
        SpaceError: there is no room.
    """
    if path.exists() and not (replace and path.is_file()):
        message = f"`{path}` is there already"
        hint = "`--force` replaces it" if path.is_file() else None
        raise GpuenvError(message, hint=hint, code="bundle-exists")
    staged = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with staged.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in NO_SPACE:
            message = f"no space left on the file system of `{path}`"
            raise SpaceError(message, hint="free some space, or write it elsewhere") from error
        message = f"cannot write `{path}`"
        raise GpuenvError(message, causes=(said(error),), code="bundle-unwritable") from error
    finally:
        with suppress(OSError):
            staged.unlink()


def _damaged(why: str, hint: str | None = None) -> IntegrityError:
    message = "the bundle is damaged"
    return IntegrityError(message, causes=(why,), hint=hint, code="bundle-damaged")
