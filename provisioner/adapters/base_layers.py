"""A base image in an OCI layout, read and verified; nothing of it is ever unpacked to the disk."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, cast

from provisioner.adapters._zstd import ZstdDecompressor, ZstdError
from provisioner.core.base_image import (
    BaseImage,
    BlobRef,
    LayerFacts,
    Libc,
    base_damaged,
    base_invalid,
    choose_image,
    is_python,
    normal_path,
    read_config,
    read_manifest,
    whiteout_of,
)
from provisioner.errors import said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK_BYTES: Final = 1 << 20
_MOST_DOCUMENT: Final = 16 << 20
_INDEX: Final = "index.json"
_LAYOUT: Final = "oci-layout"
_MOST_INDEXES: Final = 8
_GLIBC_NAME: Final = re.compile(r"(?:.*/)?libc(?:\.so\.6|-2\.\d+\.so)")
_GLIBC_WORDS: Final = re.compile(rb"GNU C Library [^\n]*?release version (2\.\d+)")
_MUSL_NAME: Final = re.compile(r"(?:.*/)?ld-musl-[^/]+\.so\.1")
_MUSL_WORDS: Final = re.compile(rb"(?:^|\0)(1\.\d+\.\d+)\0")
_MOST_LIBC: Final = 32 << 20
_GZIP: Final = 31
_CUT_OFF: Final = "it is cut off"
_DEEP: Final = 2
"""How deep files are noted that could stand in the way of environments."""


@contextmanager
def open_base(location: Path, tag: str | None, machine: str | None) -> Iterator[Base]:
    """Open an image of a layout: a folder, or a tar archive of one.

    Raises:
        GpuenvError: there is none, or it is not told which one is meant.
        IntegrityError: a document has not the hash or size that it should have.
    """
    shown = str(location)
    try:
        found = location.stat()
    except OSError as error:
        raise base_invalid(shown, said(error)) from error
    if stat.S_ISDIR(found.st_mode):
        files: _Files = _Folder(location)
        yield Base(files, shown, tag, machine)
    elif stat.S_ISREG(found.st_mode):
        try:
            with tarfile.open(location, "r:") as archive:
                yield Base(_Archive(archive), shown, tag, machine)
        except tarfile.ReadError as error:
            hint = "`skopeo copy docker-archive:FILE oci:DIR:TAG` makes a layout of an older image"
            raise base_invalid(shown, f"it is no archive: {error}", hint=hint) from error
    else:
        raise base_invalid(shown, "it is neither a folder nor a file")


class _Files:
    """The files of a layout, by their names in it."""

    def open(self, name: str) -> tuple[IO[bytes], int] | str:
        """A regular file and its size, or why there is none."""
        raise NotImplementedError

    def path(self, name: str) -> Path | None:
        """Where a file lies by itself, if it does."""
        raise NotImplementedError


class _Folder(_Files):
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> tuple[IO[bytes], int] | str:
        try:
            # Neither through a link, nor waiting for whoever writes to a pipe.
            descriptor = os.open(
                self._root / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError as error:
            is_link = (self._root / name).is_symlink()
            return "it is a symbolic link" if is_link else said(error)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            return "it is no regular file"
        return os.fdopen(descriptor, "rb"), found.st_size

    def path(self, name: str) -> Path | None:
        return self._root / name


class _Archive(_Files):
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] | None = None

    def open(self, name: str) -> tuple[IO[bytes], int] | str:
        if self._members is None:
            self._members = {
                posix: member
                for member in self._archive.getmembers()
                if (posix := normal_path(member.name))
            }
        member = self._members.get(name)
        if member is None:
            return "no such file or directory"
        if not member.isreg():
            return "it is no regular file"
        file = self._archive.extractfile(member)
        return (file, member.size) if file else "it is no regular file"

    def path(self, name: str) -> Path | None:
        del name
        return None


class Base:
    """An image of a layout."""

    def __init__(self, files: _Files, origin: str, tag: str | None, machine: str | None) -> None:
        self._files = files
        self._origin = origin
        layout = self._read(_LAYOUT)
        if b'"1.' not in layout:
            raise base_invalid(origin, "its layout is of a version that is not known")
        found = choose_image(self._read(_INDEX), origin, tag, machine)
        for _ in range(_MOST_INDEXES):
            if not found.is_index:
                break
            found = choose_image(self._document(found, "an index"), origin, None, machine)
        config, layers = read_manifest(self._document(found, "the manifest"), origin)
        data, diff_ids = read_config(
            self._document(config, "the configuration"), origin, len(layers)
        )
        self.image = BaseImage(digest=found.digest, layers=layers, diff_ids=diff_ids, config=data)

    def _read(self, name: str) -> bytes:
        found = self._files.open(name)
        if isinstance(found, str):
            hint = (
                "`skopeo copy docker://NAME:TAG oci:DIR:TAG` makes a layout of an image"
                if name in {_INDEX, _LAYOUT}
                else None
            )
            raise base_invalid(self._origin, f"`{name}`: {found}", hint=hint)
        file, size = found
        with file:
            if size > _MOST_DOCUMENT:
                raise base_invalid(self._origin, f"`{name}` has {size} bytes")
            return file.read()

    def _document(self, ref: BlobRef, what: str) -> bytes:
        content = self._read(_name(ref))
        got = hashlib.sha256(content).hexdigest()
        if got != ref.digest.hex:
            raise base_damaged(self._origin, what, f"sha256 `{ref.digest}`", f"`{got}`")
        if len(content) != ref.size:
            raise base_damaged(self._origin, what, f"{ref.size} bytes", len(content))
        return content

    def layer_path(self, index: int) -> Path | None:
        """Where a layer lies as a file of its own; None in an archive."""
        return self._files.path(_name(self.image.layers[index]))

    def copy_layer(self, index: int, file: IO[bytes]) -> None:
        """Copy a layer.

        Raises:
            IntegrityError: it has not its hash, or not its size; what was copied is wrong.
        """
        for block in self._blocks(index):
            file.write(block)

    def _blocks(self, index: int) -> Iterator[bytes]:
        """The bytes of a layer, of which the last come only if all are right."""
        ref = self.image.layers[index]
        found = self._files.open(_name(ref))
        what = f"layer {index + 1}"
        if isinstance(found, str):
            raise base_damaged(self._origin, what, f"a file `{_name(ref)}`", found)
        file, size = found
        hasher = hashlib.sha256()
        last = b""
        with file:
            if size != ref.size:
                raise base_damaged(self._origin, what, f"{ref.size} bytes", size)
            while block := file.read(_BLOCK_BYTES):
                hasher.update(block)
                if last:
                    yield last
                last = block
        if hasher.hexdigest() != ref.digest.hex:
            got = f"`{hasher.hexdigest()}`"
            raise base_damaged(self._origin, what, f"sha256 `{ref.digest}`", got)
        yield last

    def layer_facts(self, index: int) -> LayerFacts:
        """What a layer tells; its hash, and that of what is in it, are verified.

        Raises:
            IntegrityError: one of them is another one, or it is no archive.
        """
        ref = self.image.layers[index]
        what = f"layer {index + 1}"
        stream = _Stream(_decompressed(self._blocks(index), ref.compression))
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as archive:
                facts = _facts(archive)
            stream.drain()
        except (tarfile.TarError, zlib.error, ZstdError, EOFError, OverflowError) as error:
            self._drain(index)  # That its hash is another one says more.
            raise base_invalid(self._origin, f"{what} is no archive: {error}") from error
        if stream.hasher.hexdigest() != self.image.diff_ids[index].hex:
            expected = f"diff_id sha256 `{self.image.diff_ids[index]}`"
            got = f"`{stream.hasher.hexdigest()}`"
            raise base_damaged(self._origin, f"what is in {what}", expected, got)
        return facts

    def _drain(self, index: int) -> None:
        for _ in self._blocks(index):
            pass


def _name(ref: BlobRef) -> str:
    return f"blobs/sha256/{ref.digest}"


class _Stream:
    """Blocks as a file that is read once, and hashed meanwhile."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.hasher = hashlib.sha256()
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        while len(self._rest) < size:
            block = next(self._blocks, None)
            if block is None:
                break
            self.hasher.update(block)
            self._rest += block
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def drain(self) -> None:
        """Read to the end."""
        for block in self._blocks:
            self.hasher.update(block)


def _decompressed(blocks: Iterator[bytes], compression: str) -> Iterator[bytes]:
    """Decompress in pieces, through all members of a gzip file and all frames of zstd.

    Raises:
        EOFError: it is cut off.
    """
    if not compression:
        yield from blocks
        return
    unpack = _gunzip if compression == "gzip" else _unzstd
    rest = b""
    while rest or (rest := next(blocks, b"")):
        for piece, left in unpack(rest, blocks):
            yield piece
            rest = left
        if not rest.strip(b"\0"):
            rest = b""  # Padding, as some tools append it.


def _gunzip(first: bytes, blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """One member of a gzip file in pieces, each with what follows the member, once it is known."""
    unpacker = zlib.decompressobj(_GZIP)
    data = first
    while not unpacker.eof:
        piece = unpacker.decompress(data, _BLOCK_BYTES)
        data = unpacker.unconsumed_tail
        if not (data or piece or unpacker.eof) and not (data := next(blocks, b"")):
            raise EOFError(_CUT_OFF)
        yield piece, unpacker.unused_data


def _unzstd(first: bytes, blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """One frame of zstd in pieces, as above."""
    unpacker = ZstdDecompressor()
    data = first
    while not unpacker.eof:
        piece = unpacker.decompress(data, _BLOCK_BYTES)
        data = b""
        if not unpacker.eof and unpacker.needs_input and not (data := next(blocks, b"")):
            raise EOFError(_CUT_OFF)
        yield piece, unpacker.unused_data


def _facts(archive: tarfile.TarFile) -> LayerFacts:
    pythons: list[str] = []
    files: list[str] = []
    others: list[str] = []
    whiteouts: list[str] = []
    opaque: list[str] = []
    links: dict[str, str] = {}
    libc: dict[str, Libc] = {}
    for member in archive:
        archive.members = []  # type: ignore[attr-defined] # Else every header stays in memory.
        path = normal_path(member.name)
        if path is None:
            continue
        if gone := whiteout_of(path):
            (opaque if gone[1] else whiteouts).append(gone[0])
        elif member.issym():
            links[path] = member.linkname
        elif member.isdir():
            continue
        elif member.isreg() or member.islnk():
            if is_python(path):
                pythons.append(path)
            elif path.count("/") <= _DEEP:
                files.append(path)  # As far as environments may be meant to lie there.
            if found := _libc(archive, member, path):
                libc[path] = found
        else:
            others.append(path)
    return LayerFacts(
        pythons=tuple(pythons),
        files=tuple(files),
        others=tuple(others),
        whiteouts=tuple(whiteouts),
        opaque=tuple(opaque),
        links=links,
        libc=libc,
    )


def _libc(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Libc | None:
    """What a file tells of the C library that it is."""
    if not member.isreg() or member.size > _MOST_LIBC:
        return None
    if _GLIBC_NAME.fullmatch(path):
        file = archive.extractfile(member)
        found = _GLIBC_WORDS.search(file.read()) if file else None
        return ("glibc", found[1].decode()) if found else None
    if _MUSL_NAME.fullmatch(path):
        file = archive.extractfile(member)
        found = _MUSL_WORDS.search(file.read()) if file else None
        return ("musl", found[1].decode()) if found else None
    return None
