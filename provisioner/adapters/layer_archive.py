"""Layers as compressed tar archives, made in one pass and with bounded memory.

What a wheel has deflated goes into a gzip layer as it is, as a gzip member of its own (RFC
1952, section 2.2: a file is any number of members), so that nothing is compressed that was
compressed before; it is only inflated for the hash of the tar. Docker, containerd, skopeo and
umoci read such files as any other.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import tarfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

from isal import isal_zlib

from provisioner.adapters._zstd import CompressionParameter, ZstdCompressor, zstd_version
from provisioner.core.digest import Digest
from provisioner.core.oci import Compression, Layer, layer_type
from provisioner.errors import GpuenvError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from provisioner.core.image_tree import Entry, Packed, RawMember

LEVELS: Final[dict[Compression, tuple[int, int]]] = {"gzip": (1, 9), "zstd": (1, 19)}
"""The lowest and the highest level of each."""
DEFAULT_LEVELS: Final[dict[Compression, int]] = {"gzip": 6, "zstd": 3}
"""As pigz and zstd have them."""

_BLOCK_BYTES: Final = 1 << 20
_UNIT: Final = tarfile.BLOCKSIZE
_SMALLEST_MEMBER: Final = 1 << 15
"""Smaller files are compressed with what stands beside them, which takes less room."""
_RAW: Final = -15
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no name, no time, an unknown system: nothing of this machine."""
_GZIP_WINDOW: Final = 31
_JOB_BYTES: Final = 2 << 20
"""What one of Zstandard's threads has at a time: with the default, four times as much memory."""
_WORKERS: Final = 2
"""Zstandard's own threads a layer. What comes out is the same for any number of them but 0."""


def compressor_version(compression: Compression) -> str:
    """What decides on the bytes of a layer beside its files, such as `zlib 1.3.1`."""
    return f"zstd {zstd_version}" if compression == "zstd" else f"zlib {zlib.ZLIB_RUNTIME_VERSION}"


def write_layer(  # noqa: PLR0913 - what goes in, where to, and in which form
    file: IO[bytes],
    entries: Iterable[Entry],
    member: Callable[[Packed], RawMember],
    *,
    unpacked: Callable[[Packed], Path | None] = lambda _: None,
    go_on: Callable[[], None] = lambda: None,
    compression: Compression,
    level: int,
    modified: int,
    name: str,
) -> Layer:
    """Write a layer of some entries, in their order.

    `member` opens what is packed in a wheel; `modified` is the time of everything, in seconds
    since the epoch. `unpacked` tells where a large file of a wheel may lie already, so that it
    need not be inflated where it is compressed anew; its hash is held against the `RECORD`.
    `go_on` is called again and again, and may raise to end it.

    Raises:
        IntegrityError: a file of a wheel is damaged.
        SpoiledError: one that lay unpacked is not that of the wheel.
        OSError: it cannot be written.
    """
    output = _Output(file)
    sink: _Sink = _Zstd(output, level) if compression == "zstd" else _Gzip(output, level)
    tar = _Tar(sink, go_on)
    for entry in entries:
        tar.header(entry, modified)
        if entry.packed:
            _write_packed(tar, entry.packed, member, unpacked if sink.anew else _nowhere)
        elif entry.source:
            tar.source(*entry.source)
        elif entry.data:
            tar.plain(entry.data)
        tar.pad(entry.size)
    tar.plain(bytes(2 * _UNIT))
    sink.end()
    return Layer(
        digest=Digest(output.hasher.hexdigest()),
        diff_id=Digest(tar.hasher.hexdigest()),
        size=output.written,
        media_type=layer_type(compression),
        created_by=name,
    )


class SpoiledError(Exception):
    """A file that lay unpacked is not as its wheel has it; what was written is of no use."""


def _nowhere(_: Packed) -> Path | None:
    return None


def _write_packed(
    tar: _Tar,
    packed: Packed,
    member: Callable[[Packed], RawMember],
    unpacked: Callable[[Packed], Path | None],
) -> None:
    """Take a file out of a wheel, or from where it lies unpacked."""
    path = unpacked(packed) if packed.told and packed.size >= _SMALLEST_MEMBER else None
    file = _opened(path, packed.size) if path else None
    if file is None:
        tar.packed(member(packed), packed)
        return
    with file:
        tar.unpacked(file, packed)


def _opened(path: Path, size: int) -> IO[bytes] | None:
    """A regular file of some size; None where there is none."""
    try:
        file = os.fdopen(
            os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", buffering=0
        )
    except OSError:
        return None
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and found.st_size == size:
        return file
    file.close()
    return None


class _Output:
    """A file that is hashed and counted while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.hasher = hashlib.sha256()
        self.written = 0
        self._file = file

    def write(self, data: bytes) -> None:
        if data:
            self._file.write(data)
            self.hasher.update(data)
            self.written += len(data)


class _Sink(Protocol):
    """Where the bytes of a tar go; `anew` is whether all of them are compressed here."""

    anew: bool

    def plain(self, data: bytes) -> None:
        """Compress some."""

    def deflated(self, raw: RawMember) -> Iterator[bytes]:
        """Take what is deflated already; what it is inflated comes back."""

    def end(self) -> None:
        """Write what is left."""


class _Gzip:
    anew = False

    def __init__(self, output: _Output, level: int) -> None:
        self._output = output
        self._level = level
        self._open: zlib._Compress | None = None

    def plain(self, data: bytes) -> None:
        if self._open is None:
            self._open = zlib.compressobj(self._level, zlib.DEFLATED, _GZIP_WINDOW)
        self._output.write(self._open.compress(data))

    def deflated(self, raw: RawMember) -> Iterator[bytes]:
        if raw.packed < _SMALLEST_MEMBER:
            for block in _inflated(raw.blocks):
                self.plain(block)
                yield block
            return
        self.end()
        self._output.write(_GZIP_HEADER)
        yield from _inflated(self._passed_on(raw.blocks))
        self._output.write(struct.pack("<II", raw.crc, raw.size & 0xFFFFFFFF))

    def _passed_on(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._output.write(block)
            yield block

    def end(self) -> None:
        if self._open is not None:
            self._output.write(self._open.flush())
            self._open = None


class _Zstd:
    anew = True

    def __init__(self, output: _Output, level: int) -> None:
        self._output = output
        self._open = ZstdCompressor(
            options={
                CompressionParameter.compression_level: level,
                CompressionParameter.checksum_flag: 1,
                CompressionParameter.nb_workers: _WORKERS,
                CompressionParameter.job_size: _JOB_BYTES,
            }
        )

    def plain(self, data: bytes) -> None:
        self._output.write(self._open.compress(data))

    def deflated(self, raw: RawMember) -> Iterator[bytes]:
        for block in _inflated(raw.blocks):
            self.plain(block)
            yield block

    def end(self) -> None:
        self._output.write(self._open.flush())


def _inflated(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Inflate in pieces.

    Raises:
        IntegrityError: it is no deflated data, or it goes on after its end.
    """
    inflater = isal_zlib.decompressobj(_RAW)
    try:
        for block in blocks:
            data = block
            while data and not inflater.eof:
                if piece := inflater.decompress(data, _BLOCK_BYTES):
                    yield piece
                data = inflater.unconsumed_tail
            if inflater.eof and (data or inflater.unused_data):
                msg = "it goes on after its end"
                raise _broken(msg)
        while not inflater.eof:
            piece = inflater.decompress(b"", _BLOCK_BYTES)
            if not piece:
                msg = "it is cut off"
                raise _broken(msg)
            yield piece
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its types call it an instance.
        raise _broken(str(error)) from error


def _broken(why: str) -> IntegrityError:
    message = "a file of a wheel cannot be inflated"
    return IntegrityError(message, causes=(why,), code="archive-invalid")


class _Tar:
    """Headers and files, hashed as they come."""

    def __init__(self, sink: _Sink, go_on: Callable[[], None]) -> None:
        self.hasher = hashlib.sha256()
        self._go_on = go_on
        self._sink = sink

    def plain(self, data: bytes) -> None:
        self._go_on()
        self.hasher.update(data)
        self._sink.plain(data)

    def header(self, entry: Entry, modified: int) -> None:
        info = tarfile.TarInfo(entry.path)
        info.mode = entry.mode
        info.mtime = modified
        info.size = entry.size
        if entry.kind == "folder":
            info.type = tarfile.DIRTYPE
            info.name += "/"
        elif entry.kind == "link":
            info.type = tarfile.SYMTYPE
            info.linkname = entry.target
        # PAX, as the OCI specification asks for; no times but that one, and no names of owners.
        self.plain(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def packed(self, raw: RawMember, packed: Packed) -> None:
        """Take a file out of a wheel.

        Raises:
            IntegrityError: its bytes are not those that the wheel's list tells.
        """
        size = crc = 0
        pieces = self._sink.deflated(raw) if raw.deflated else self._stored(raw)
        try:
            for piece in pieces:
                self._go_on()
                size += len(piece)
                if size > packed.size:
                    break  # Whatever comes further, it would only fill the disk.
                crc = isal_zlib.crc32(piece, crc)
                self.hasher.update(piece)
        except IntegrityError as error:
            raise _damaged(packed, *error.causes) from error
        if size != packed.size:
            raise _damaged(packed, f"expected {packed.size} bytes, got {size}")
        if crc != raw.crc:
            raise _damaged(packed, f"expected crc32 `{raw.crc:08x}`, got `{crc:08x}`")

    def unpacked(self, file: IO[bytes], packed: Packed) -> None:
        """Take a file that lies unpacked.

        Raises:
            SpoiledError: it has another hash than its wheel tells.
        """
        hasher = hashlib.sha256()
        left = packed.size
        while left:
            try:
                block = file.read(min(left, _BLOCK_BYTES))
            except OSError as error:
                raise SpoiledError from error
            if not block:
                raise SpoiledError
            left -= len(block)
            hasher.update(block)
            self.plain(block)
        if hasher.hexdigest() != packed.told:
            raise SpoiledError

    def source(self, path: str, size: int) -> None:
        """Take a file of this machine.

        Raises:
            GpuenvError: it has another size than it had.
        """
        left = size
        with Path(path).open("rb", buffering=0) as file:
            while left and (block := file.read(min(left, _BLOCK_BYTES))):
                left -= len(block)
                self.plain(block)
            if left or file.read(1):
                message = f"`{path}` has changed while it was read"
                raise GpuenvError(message, hint="run the command again", code="changed")

    def _stored(self, raw: RawMember) -> Iterator[bytes]:
        for block in raw.blocks:
            self._sink.plain(block)
            yield block

    def pad(self, size: int) -> None:
        if rest := -size % _UNIT:
            self.plain(bytes(rest))


def _damaged(packed: Packed, *causes: str) -> IntegrityError:
    message = f"`{packed.member}` in a wheel is damaged"
    return IntegrityError(
        message,
        causes=(*causes, f"the wheel has sha256 `{packed.wheel}`"),
        hint="`gpuenv store verify --repair` fetches the wheel again",
        code="blob-damaged",
    )
