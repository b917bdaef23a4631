"""The note of a forward compatibility package, read from bytes that nobody vouches for."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.elf import read_compat_note
from provisioner.core.host import Compat
from tests.core.examples import version

SAID: dict[str, Any] = {"Format": 1, "CUDA Version": "13.1", "Driver": [535, 580], "Device": [1]}
NOTE = Compat(cuda=version("13.1"), branches=(535, 580))


def library(  # noqa: PLR0913 - all have a default
    content: bytes | None = None,
    *,
    name: bytes = b".note.cuda.fwd_compatibility",
    owner: bytes = b"NVIDIA Corporation\0",
    align: int = 4,
    order: str = "<",
    kind: int = 7,
) -> bytes:
    """A 64-bit library of three sections: none, the note, and the names."""
    content = json.dumps(SAID).encode() if content is None else content
    padded = owner + b"\0" * (-len(owner) % align)
    note = struct.pack(f"{order}III", len(owner), len(content), 1) + padded + content
    names = b"\0" + name + b"\0.shstrtab\0"
    note_at, names_at = 64, 64 + len(note)
    table_at = names_at + len(names)
    ident = b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + b"\x01" + b"\0" * 9
    header = ident + struct.pack(
        f"{order}HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table_at, 0, 64, 0, 0, 64, 3, 2
    )

    def section(name_at: int, kind: int, offset: int, size: int) -> bytes:
        return struct.pack(f"{order}IIQQQQIIQQ", name_at, kind, 0, 0, offset, size, 0, 0, align, 0)

    table = (
        section(0, 0, 0, 0)
        + section(1, kind, note_at, len(note))
        + section(len(name) + 2, 3, names_at, len(names))
    )
    return header + note + names + table


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("align", [1, 4, 8])
def test_the_note_is_read_whatever_its_padding(order: str, align: int) -> None:
    assert read_compat_note(library(order=order, align=align)) == NOTE
    assert read_compat_note(memoryview(library(order=order, align=align))) == NOTE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"\x7fELF\x01" + library()[5:],
        library(name=b".note.gnu.build-id"),
        library(owner=b"GNU\0"),
        library(kind=1),
        library(b""),
        library(b"{"),
        library(b"[]"),
        library(b"\xff\xfe"),
        library(b'{"CUDA Version": 13, "Driver": "535"}'),
        library(b'{"CUDA Version": "newest"}'),
        library(b'{"Driver": [true, null, "535"]}'),
    ],
)
def test_what_is_no_such_note_is_none(data: bytes) -> None:
    assert read_compat_note(data) is None


def test_a_part_that_cannot_be_read_does_not_hide_the_other() -> None:
    assert read_compat_note(library(b'{"Driver": [535, "x"]}')) == Compat(
        cuda=None, branches=(535,)
    )
    only_cuda = read_compat_note(library(b'{"CUDA Version": "13.1"}'))
    assert only_cuda == Compat(cuda=version("13.1"))


@given(st.integers(0, len(library())))
def test_a_file_that_breaks_off_is_survived(length: int) -> None:
    read_compat_note(library()[:length])


@given(st.data())
def test_no_size_and_no_offset_is_trusted(data: st.DataObject) -> None:
    damaged = bytearray(library())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(5, len(damaged) - 1))
        damaged[at] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    read_compat_note(bytes(damaged))


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    read_compat_note(b"\x7fELF\x02\x01" + data)
