"""The note in a `libcuda.so.1` that says on which drivers it may stand in for the newer one.

NVIDIA's forward compatibility packages carry a section `.note.cuda.fwd_compatibility` whose
owner is `NVIDIA Corporation` and whose content is JSON with `CUDA Version`, `Driver` (branches
of the kernel driver) and `Device`. Form of the note: NVIDIA/nvidia-container-toolkit,
`cmd/nvidia-cdi-hook/cudacompat/cuda-elf-header.go`; of the file: elf(5).
"""

from __future__ import annotations

import json
import struct
from typing import Final

from provisioner.core.host import Compat
from provisioner.core.version import DottedVersion

_SECTION: Final = b".note.cuda.fwd_compatibility"
_OWNER: Final = b"NVIDIA Corporation"
_MOST_BYTES: Final = 1 << 16
_MOST_BRANCHES: Final = 256
_NOTE, _HEADER_BYTES, _SECTION_BYTES, _NOTE_HEADER_BYTES = 7, 64, 64, 12


def read_compat_note(data: bytes | memoryview) -> Compat | None:
    """Read the note of a 64-bit library; None where it has none that can be read.

    No size or offset in the file is trusted: what leads outside of it ends the reading.
    """
    section = _section(data)
    if section is None or len(section) < _NOTE_HEADER_BYTES:
        return None
    order = _order(data)
    name_size, _, _ = struct.unpack_from(f"{order}III", section)
    if section[_NOTE_HEADER_BYTES:][:name_size].rstrip(b"\0") != _OWNER:
        return None
    # The padding after the owner differs between builds, and is always zero.
    return _content(section[_NOTE_HEADER_BYTES + name_size :].strip(b"\0"))


def _order(data: bytes | memoryview) -> str:
    return "<" if data[5] == 1 else ">"


def _section(data: bytes | memoryview) -> bytes | None:
    """The content of the section."""
    if len(data) < _HEADER_BYTES or bytes(data[:5]) != b"\x7fELF\x02":
        return None
    order = _order(data)
    (table,) = struct.unpack_from(f"{order}Q", data, 0x28)
    size, count, of_names = struct.unpack_from(f"{order}HHH", data, 0x3A)
    if size < _SECTION_BYTES or of_names >= count or table + size * count > len(data):
        return None

    def header(index: int) -> tuple[int, int, int, int]:
        name, kind = struct.unpack_from(f"{order}II", data, table + size * index)
        offset, length = struct.unpack_from(f"{order}QQ", data, table + size * index + 24)
        return name, kind, offset, length

    _, _, names, names_length = header(of_names)
    for index in range(count):
        name, kind, offset, length = header(index)
        if kind != _NOTE or name >= names_length:
            continue
        start = names + name
        if bytes(data[start : start + len(_SECTION) + 1]) == _SECTION + b"\0":
            return bytes(data[offset : offset + min(length, _MOST_BYTES)])
    return None


def _content(text: bytes) -> Compat | None:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    cuda, branches = said.get("CUDA Version"), said.get("Driver")
    try:
        version = DottedVersion.parse(cuda) if isinstance(cuda, str) else None
    except ValueError:
        version = None
    known = branches if isinstance(branches, list) else []
    numbers = tuple(branch for branch in known[:_MOST_BRANCHES] if type(branch) is int)
    return Compat(cuda=version, branches=numbers) if version or numbers else None
