"""Whether there is room for what a plan brings: bytes and inodes, on every file system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.sizes import size_text
from provisioner.errors import STORE_FULL, SpaceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNPACKED_RATIO: Final = 1.63
"""Bytes of an unpacked wheel for each of the wheel, where nothing better is known.

Measured on 2026-11-23 over the manylinux x86_64 wheels of PyPI for Python 3.11 (all of them
together): nvidia-cublas-cu12 12.9.3.13 (1.47), nvidia-cuda-nvrtc-cu12 12.9.86 (2.54),
nvidia-cuda-runtime-cu12 12.9.79 (2.75), nvidia-cudnn-cu12 9.28.0.42 (1.62),
nvidia-cufft-cu12 11.4.1.4 (1.46), nvidia-cusparse-cu12 12.5.10.65 (1.33),
nvidia-nccl-cu12 2.32.3 (1.40), nvidia-npp-cu12 12.4.1.87 (1.48), torch 2.7.1 (1.97).
"""

COMPRESSING: Final = frozenset({"bcachefs", "btrfs", "erofs", "squashfs", "ubifs", "zfs"})
"""File systems on which files may take fewer bytes than they have."""

_RECORD_INODES: Final = 1
_LEAST_IN_A_WHEEL: Final = (3, 1)
"""Files and folders: METADATA, WHEEL and RECORD in their folder."""
_MOST_RATIO: Final = 1032
"""Deflate makes no more of a byte (zlib, "Maximum Compression Factor")."""
_LEAST_MEMBER_BYTES: Final = 76
"""The headers of a member of a zip archive, without its name (APPNOTE.TXT, 4.3.7 and 4.3.12)."""
_ENVIRONMENT_INODES: Final = 22
"""As `uv venv` 0.13.9 makes it; what we add comes on top."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """Bytes and inodes."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(bytes=self.bytes + other.bytes, inodes=self.inodes + other.inodes)


NOTHING: Final = Amount()


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """What a wheel's list of its contents says: bytes, files and folders."""

    bytes: int
    files: int
    folders: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """A file that is needed, as far as it is known.

    `size` are the bytes of the file, and `arrived` those of them that are there already.
    `unpacked` is known of wheels that are held. A source distribution is no wheel: what it
    is built into cannot be told.
    """

    size: int | None
    arrived: int = 0
    is_held: bool = False
    is_wheel: bool = True
    unpacked: Unpacked | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether nothing tells how large it is, unpacked."""
        return self.unpacked is None and self.size is None

    def to_fetch(self) -> int:
        """Bytes that are still to come, as far as that is known."""
        return 0 if self.is_held else max(0, (self.size or 0) - self.arrived)

    def likely(self) -> Unpacked:
        """What it is going to be, unpacked."""
        files, folders = _LEAST_IN_A_WHEEL
        guess = Unpacked(
            bytes=round((self.size or 0) * UNPACKED_RATIO), files=files, folders=folders
        )
        return self.unpacked or guess

    def least(self, *, compressing: bool) -> Unpacked:
        """What it takes at least, unpacked: on a disk no wheel is larger than what is in it.

        Where files are compressed again, they may take as little as in the wheel.
        """
        files, folders = _LEAST_IN_A_WHEEL
        packed = Unpacked(bytes=self.size or 0, files=files, folders=folders)
        if self.unpacked is None:
            return packed
        if compressing and self.size is not None:
            fewer = min(self.unpacked.bytes, self.size)
            return Unpacked(bytes=fewer, files=self.unpacked.files, folders=self.unpacked.folders)
        return self.unpacked


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What something takes in a folder: most likely, and at least.

    Only the least is refused for, since a guess must keep nobody from what would work.
    `unknown` counts files of which no size is known: they are in neither.
    """

    what: str
    place: str
    likely: Amount
    least: Amount
    unknown: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSystem:
    """Where it is mounted, of what type, and what is free for this user.

    `free_inodes` is None where there is no limit. Equal `device`s are one file system.
    """

    device: int
    point: str
    kind: str | None
    free_bytes: int
    free_inodes: int | None

    @property
    def compresses(self) -> bool:
        """Whether files may take fewer bytes than they have."""
        return self.kind in COMPRESSING

    @property
    def label(self) -> str:
        """As people are told of it."""
        return f"`{self.point}`" + (f" (`{self.kind}`)" if self.kind else "")


def is_plenty(packed: int, system: FileSystem) -> bool:
    """Whether a file system has room for wheels of so many bytes, whatever is in them.

    Each file in them counts for a folder too.
    """
    files = packed // _LEAST_MEMBER_BYTES
    has_inodes = system.free_inodes is None or 2 * files <= system.free_inodes
    return has_inodes and packed * _MOST_RATIO <= system.free_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """All that is needed on one file system."""

    system: FileSystem
    needs: tuple[Need, ...]

    @property
    def likely(self) -> Amount:
        """What all of it is going to take."""
        return sum((need.likely for need in self.needs), NOTHING)

    @property
    def least(self) -> Amount:
        """What all of it takes at least."""
        return sum((need.least for need in self.needs), NOTHING)

    def shortages(self) -> tuple[str, ...]:
        """What cannot do, with both values."""
        found = []
        if self.least.bytes > self.system.free_bytes:
            free = size_text(self.system.free_bytes)
            found.append(
                f"{self.system.label}: needed are at least {self._bytes()}, free are {free}"
            )
        inodes = self.system.free_inodes
        if inodes is not None and self.least.inodes > inodes:
            found.append(
                f"{self.system.label}: needed are at least {self.least.inodes} inodes, "
                f"free are {inodes}"
            )
        return tuple(found)

    def _bytes(self) -> str:
        parts = [
            f"{size_text(need.least.bytes)} {need.what}" for need in self.needs if need.least.bytes
        ]
        return (
            parts[0] if len(parts) == 1 else f"{size_text(self.least.bytes)} ({', '.join(parts)})"
        )

    def to_json(self) -> dict[str, Any]:
        """As `prepare --dry-run --json` has it."""
        return {
            "file_system": self.system.point,
            "type": self.system.kind,
            "needs": [
                {
                    "what": need.what,
                    "folder": need.place,
                    "bytes": need.likely.bytes,
                    "inodes": need.likely.inodes,
                    "unknown_sizes": need.unknown,
                }
                for need in self.needs
            ],
            "needed_bytes": self.likely.bytes,
            "needed_inodes": self.likely.inodes,
            "free_bytes": self.system.free_bytes,
            "free_inodes": self.system.free_inodes,
        }


def to_fetch(place: str, parcels: Iterable[Parcel]) -> Need:
    """What the missing files take in the store."""
    missing = [parcel for parcel in parcels if not parcel.is_held]
    size = sum(parcel.to_fetch() for parcel in missing)
    return Need(
        what="to fetch",
        place=place,
        likely=Amount(bytes=size, inodes=len(missing) * (1 + _RECORD_INODES)),
        least=Amount(bytes=size, inodes=len(missing)),
        unknown=sum(parcel.size is None for parcel in missing),
    )


def to_unpack(place: str, parcels: Iterable[Parcel], *, is_empty: bool, compressing: bool) -> Need:
    """What wheels take in uv's cache.

    Of a wheel that is held, uv may have an unpacked copy already, unless its cache `is_empty`.
    """
    wheels = [parcel for parcel in parcels if parcel.is_wheel]
    new = [parcel for parcel in wheels if is_empty or not parcel.is_held]
    return Need(
        what="to unpack in uv's cache",
        place=place,
        likely=_all_of([parcel.likely() for parcel in wheels]),
        least=_all_of([parcel.least(compressing=compressing) for parcel in new]),
        unknown=sum(parcel.is_unknown for parcel in wheels),
    )


def to_link(
    place: str, environments: Iterable[Sequence[Parcel]], *, copies: bool, compressing: bool
) -> Need:
    """What environments take: the folders alone, or all of it where files are copied."""
    likely = least = NOTHING
    unknown = 0
    for parcels in environments:
        wheels = [parcel for parcel in parcels if parcel.is_wheel]
        skeleton = Amount(inodes=_ENVIRONMENT_INODES)
        each = [parcel.likely() for parcel in wheels]
        fewest = [parcel.least(compressing=compressing) for parcel in wheels]
        likely += skeleton + (_all_of(each) if copies else _folders_of(each))
        # Folders of several wheels may be the same one.
        least += skeleton + (Amount(bytes=_all_of(fewest).bytes) if copies else NOTHING)
        unknown += sum(parcel.is_unknown for parcel in wheels) if copies else 0
    what = "to copy into environments" if copies else "to link into environments"
    return Need(what=what, place=place, likely=likely, least=least, unknown=unknown)


def _all_of(unpacked: Iterable[Unpacked]) -> Amount:
    return sum(
        (Amount(bytes=one.bytes, inodes=one.files + one.folders) for one in unpacked), NOTHING
    )


def _folders_of(unpacked: Iterable[Unpacked]) -> Amount:
    return Amount(inodes=sum(one.folders for one in unpacked))


def rooms(needs: Iterable[Need], systems: Mapping[str, FileSystem]) -> tuple[Room, ...]:
    """The needs by file system; `systems` tells it of each place."""
    by_device: dict[int, list[Need]] = {}
    found: dict[int, FileSystem] = {}
    for need in needs:
        system = systems[need.place]
        found.setdefault(system.device, system)
        by_device.setdefault(system.device, []).append(need)
    return tuple(
        Room(system=found[device], needs=tuple(each)) for device, each in by_device.items()
    )


def refuse_shortage(found: Iterable[Room], store: str) -> None:
    """Refuse what cannot do; `store` is the store's folder.

    Raises:
        SpaceError: somewhere less is free than is needed for sure.
    """
    short = [room for room in found if room.shortages()]
    if not short:
        return
    of_store = any(need.place == store for room in short for need in room.needs)
    message = "there is no room for what is to be prepared"
    raise SpaceError(
        message,
        causes=tuple(cause for room in short for cause in room.shortages()),
        hint=STORE_FULL
        if of_store
        else "free some space, or choose another cache for uv with `UV_CACHE_DIR`",
    )
