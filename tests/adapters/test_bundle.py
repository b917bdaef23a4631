"""Bundles as tar archives: other programs read them, and nothing but plain files is read."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.adapters.bundle import BundleReader, BundleWriter, new_bundle
from provisioner.errors import GpuenvError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def written(members: Iterable[tuple[str, bytes]], modified: int = 0) -> bytes:
    """A bundle."""
    file = io.BytesIO()
    writer = BundleWriter(file, modified)
    for path, content in members:
        writer.add(path, len(content), [content])
    writer.end()
    assert writer.written == len(file.getvalue())
    return file.getvalue()


def read(content: bytes) -> list[tuple[str, bytes]]:
    """Its members."""
    reader = BundleReader(io.BytesIO(content))
    return [(path, b"".join(reader.blocks())) for path, _ in reader.members()]


contents = st.lists(
    st.tuples(st.text("abcdef/", min_size=1, max_size=70), st.binary(max_size=2000)), max_size=5
)


@given(contents)
def test_what_is_written_is_read(members: list[tuple[str, bytes]]) -> None:
    assert read(written(members)) == members


@given(contents)
def test_other_programs_read_it(members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(fileobj=io.BytesIO(written(members))) as archive:
        found = []
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found.append((member.name.strip("/"), file.read()))
    assert found == [(path.strip("/"), content) for path, content in members]


@given(contents.filter(bool), st.data())
def test_what_is_cut_off_anywhere_is_damaged(
    members: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    whole = written(members)
    end = sum(512 + len(content) + -len(content) % 512 for _, content in members)
    cut = data.draw(st.integers(0, end + 511))
    with pytest.raises(IntegrityError) as caught:
        read(whole[:cut])
    assert caught.value.code == "bundle-damaged"
    assert caught.value.causes == ("it is cut off",)
    assert caught.value.hint == "copy it again, whole"


@given(st.binary(max_size=3000).filter(any))
def test_noise_is_damaged(noise: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(noise)


def test_members_are_skipped_in_a_stream_that_cannot_be_wound() -> None:
    large = os.urandom(3 << 20)
    content = written([("a", large), ("b", b"end")])
    out, into = os.pipe()

    def feed() -> None:
        with open(into, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)

    thread = threading.Thread(target=feed)
    thread.start()
    with open(out, "rb") as file:  # noqa: PTH123 - a descriptor
        reader = BundleReader(file)
        found = [
            (path, b"".join(reader.blocks()) if path == "b" else b"")
            for path, _ in reader.members()
        ]
    thread.join()
    assert found == [("a", b""), ("b", b"end")]


def special(kind: bytes, **fields: Any) -> bytes:  # noqa: ANN401
    info = tarfile.TarInfo("member")
    info.type = kind
    for name, value in fields.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    "content",
    [
        special(tarfile.SYMTYPE, linkname="/etc/passwd"),
        special(tarfile.LNKTYPE, linkname="../x"),
        special(tarfile.DIRTYPE),
        special(tarfile.CHRTYPE),
        special(tarfile.FIFOTYPE),
        special(tarfile.GNUTYPE_LONGNAME, size=1 << 40),
        special(tarfile.GNUTYPE_SPARSE),
        special(tarfile.XHDTYPE, size=1 << 40),
        special(tarfile.XGLTYPE, size=1 << 40),
        written([("a", b"b")]) + b"more",
    ],
)
def test_anything_but_plain_files_is_damaged(content: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        read(content)
    assert caught.value.code == "bundle-damaged"


def test_a_member_that_is_not_as_long_as_it_was_is_refused() -> None:
    writer = BundleWriter(io.BytesIO(), 0)
    with pytest.raises(IntegrityError) as caught:
        writer.add("a", 5, [b"four"])
    assert caught.value.causes == ("expected 5 bytes, got 4",)


def test_a_member_may_be_larger_than_8_gib() -> None:
    file = io.BytesIO()
    header = tarfile.TarInfo("a")
    header.size = 9 << 30
    file.write(header.tobuf(tarfile.GNU_FORMAT))
    file.seek(0)
    assert next(BundleReader(file).members()) == ("a", 9 << 30)


def test_a_bundle_that_fails_leaves_nothing_and_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"old")
    with suppress(ZeroDivisionError), new_bundle(path, replace=True) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {"x.tar": b"old"}


def test_only_a_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises(GpuenvError) as caught, new_bundle(tmp_path / name, replace=True):
            raise AssertionError
        assert caught.value.code == "bundle-exists"
