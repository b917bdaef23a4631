"""A wheel as the files that an installer would write (PEP 427), without writing them.

The library `installer` says what goes where; the bytes stay in the wheel until they are asked
for, and then come as they are packed there.
"""

from __future__ import annotations

import hashlib
import os
import struct
import warnings
import zipfile
from contextlib import contextmanager
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, InvalidRecordEntry, RecordEntry
from installer.scripts import Script
from installer.sources import WheelFile
from installer.utils import construct_record_file, fix_shebang, parse_wheel_filename

from provisioner.core.image_environment import INSTALLER
from provisioner.core.image_tree import FILE_MODE, PROGRAM_MODE, Entry, Packed, RawMember
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from installer.scripts import ScriptSection
    from installer.utils import Scheme

    from provisioner.core.digest import Digest
    from provisioner.core.image_environment import ImageEnvironment

_BLOCK_BYTES: Final = 1 << 20
_HEADER: Final = struct.Struct("<4s22sHH")
"""The beginning of a local file header (APPNOTE.TXT 4.3.7): signature, lengths of two names."""
_SIGNATURE: Final = b"PK\x03\x04"
_ENCRYPTED: Final = 1
_DAMAGED: Final = (
    *(InstallerError, InvalidRecordEntry, zipfile.BadZipFile, OSError),
    *(AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError),
)


class OpenWheel:
    """A wheel whose files can be had, packed as they are."""

    def __init__(self, archive: zipfile.ZipFile, file: IO[bytes], name: str) -> None:
        self.archive = archive
        self.name = name
        self._file = file

    def member(self, name: str) -> RawMember:
        """A file of it.

        Raises:
            IntegrityError: it cannot be read.
        """
        try:
            info = self.archive.getinfo(name)
        except KeyError as error:
            raise damaged(self.name, f"it has no `{name}`") from error
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        if info.flag_bits & _ENCRYPTED or not (
            deflated or info.compress_type == zipfile.ZIP_STORED
        ):
            raise damaged(self.name, f"`{name}` is packed in a way that wheels are not")
        return RawMember(
            deflated=deflated,
            size=info.file_size,
            packed=info.compress_size,
            crc=info.CRC,
            blocks=self._blocks(info),
        )

    def _blocks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        # Not the file of the archive, whose position belongs to it.
        self._file.seek(info.header_offset)
        header = self._file.read(_HEADER.size)
        if len(header) < _HEADER.size or header[:4] != _SIGNATURE:
            raise damaged(self.name, f"`{info.filename}` is not where its list tells")
        _, _, name, extra = _HEADER.unpack(header)
        self._file.seek(name + extra, 1)
        left = info.compress_size
        while left:
            block = self._file.read(min(left, _BLOCK_BYTES))
            if not block:
                raise damaged(self.name, f"`{info.filename}` is cut off")
            left -= len(block)
            yield block


@contextmanager
def open_wheel(path: Path, name: str) -> Iterator[OpenWheel]:
    """Open a wheel, which need not be called by its file name.

    Raises:
        IntegrityError: it is no archive that can be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise damaged(name, str(error)) from error
    with file:
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
            raise damaged(name, str(error)) from error
        with archive:
            yield OpenWheel(archive, file, name)


def damaged(name: str, why: str) -> IntegrityError:
    """That a wheel cannot be installed from."""
    message = f"`{name}` cannot be unpacked"
    return IntegrityError(
        message,
        causes=(why,),
        hint="`gpuenv store verify` tells whether it is as it was fetched",
        code="archive-invalid",
    )


def wheel_entries(
    wheel: OpenWheel, digest: Digest, environment: ImageEnvironment
) -> tuple[Entry, ...]:
    """The files of a wheel where an installer puts them in an environment of an image.

    `RECORD` is made anew and sorted, and has what is generated: scripts of entry points, and
    the `INSTALLER`. There is no `direct_url.json` and no byte code.

    Raises:
        IntegrityError: it is no valid wheel, or a file of it would lie outside.
    """
    destination = _Destination(wheel, digest, environment)
    try:
        # Byte code in a wheel is left out, as the library warns.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = _Source(wheel.archive, wheel.name)
            install(source, destination, {"INSTALLER": f"{INSTALLER}\n".encode()})
    except IntegrityError:
        raise
    except _DAMAGED as error:
        raise damaged(wheel.name, str(error) or type(error).__name__) from error
    return tuple(destination.entries)


class _Source(WheelFile):
    """A wheel in a file that is called otherwise, whose contents are not read here."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        parsed = parse_wheel_filename(name)
        # `WheelFile` takes the name of the file; its own base takes what is parsed.
        super(WheelFile, self).__init__(
            version=parsed.version,
            distribution=parsed.distribution,
        )
        self._zipfile = archive


class _Destination(WheelDestination):
    """Notes what would be written."""

    def __init__(self, wheel: OpenWheel, digest: Digest, environment: ImageEnvironment) -> None:
        self.entries: list[Entry] = []
        self._wheel = wheel
        self._digest = digest
        self._environment = environment
        self._told = self._hashes()
        self._distribution = parse_wheel_filename(wheel.name).distribution

    def write_script(
        self, name: str, module: str, attr: str, section: ScriptSection
    ) -> RecordEntry:
        """Make the script of an entry point."""
        script = Script(name, module, attr, section)
        called, data = script.generate(self._environment.program, "posix")
        return self._write("scripts", called, data, PROGRAM_MODE)

    def write_file(
        self,
        scheme: Scheme,
        path: str | os.PathLike[str],
        stream: BinaryIO,
        is_executable: bool,  # noqa: FBT001 - the library's
    ) -> RecordEntry:
        """Note a file of the wheel; a script is changed to name the environment's Python."""
        path = os.fspath(path)
        mode = PROGRAM_MODE if is_executable else FILE_MODE
        member = getattr(stream, "name", None)
        if scheme == "scripts":
            with fix_shebang(stream, self._environment.program) as fixed:
                return self._write(scheme, path, fixed.read(), PROGRAM_MODE)
        if isinstance(stream, BytesIO) or member is None:
            return self._write(scheme, path, stream.read(), mode)
        info = self._wheel.archive.getinfo(member)
        told = self._told.get(member)
        packed = Packed(self._digest, member, info.file_size, _digits(told) if told else "")
        self._note(scheme, path, mode, packed=packed)
        if told is None:
            # A list without a hash is valid for some files only; what is there counts.
            hasher = hashlib.sha256()
            while block := stream.read(_BLOCK_BYTES):
                hasher.update(block)
            told = _hash_of(hasher.digest())
        return RecordEntry(path, told, info.file_size)

    def finalize_installation(
        self,
        scheme: Scheme,
        record_file_path: str,
        records: Iterable[tuple[Scheme, RecordEntry]],
    ) -> None:
        """Make the `RECORD` of all that was noted."""
        site = self._environment.folder_of(scheme, self._distribution)
        up = "../" * (site.count("/") + 1)

        def prefix(of: Scheme) -> str | None:
            folder = self._environment.folder_of(of, self._distribution)
            return None if folder == site else f"{up}{folder}/" if folder else up

        rows = sorted(records, key=lambda item: (prefix(item[0]) or "", item[1].path))
        with construct_record_file(rows, prefix) as made:
            self._write(scheme, record_file_path, made.read(), FILE_MODE)

    def _write(self, scheme: str, path: str, data: bytes, mode: int) -> RecordEntry:
        self._note(scheme, path, mode, data=data)
        return RecordEntry(path, _hash_of(hashlib.sha256(data).digest()), len(data))

    def _note(self, scheme: str, path: str, mode: int, **content: Any) -> None:  # noqa: ANN401
        folder = self._environment.folder_of(scheme, self._distribution)
        place = self._environment.place(folder, path)
        self.entries.append(Entry(place, "file", mode, **content))

    def _hashes(self) -> dict[str, Hash]:
        """What the wheel's own `RECORD` tells, for those that are strong."""
        from installer.records import parse_record_file

        archive = self._wheel.archive
        names = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
        if len(names) != 1:
            return {}
        rows = parse_record_file(archive.read(names[0]).decode().splitlines())
        found = {}
        for path, told, _ in rows:
            algorithm, _, value = told.partition("=")
            if algorithm == "sha256" and value:
                found[path] = Hash(algorithm, value)
        return found


def _digits(told: Hash) -> str:
    from provisioner.core.installed_files import told_hash

    found = told_hash(f"{told.name}={told.value}")
    return found[1] if found else ""


def _hash_of(digest: bytes) -> Hash:
    import base64

    return Hash("sha256", base64.urlsafe_b64encode(digest).decode().rstrip("="))
