"""Records of blobs and first-seen names: whole, safe beside each other, and dispensable."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._files import stamp_from
from provisioner.adapters.records import FirstSeenNames, Records, stamp_of
from provisioner.core.blob_record import BlobRecord, Origin
from provisioner.core.digest import Digest
from provisioner.core.first_seen import FirstSeen

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = Digest.parse("ab" * 32)
OTHER = Digest.parse("cd" * 32)
RECORD = BlobRecord(
    origins=(Origin(name="a.whl", url="https://a.test/a.whl", index="https://a.test"),),
    fetched=12.5,
    stamp=(1, 2, 3, 0o444),
    needs=frozenset({OTHER}),
)
SEEN = FirstSeen(index="https://a.test", name="a.whl", digest=DIGEST, url="u", seen=1.0)


def test_a_record_is_kept_and_listed_with_the_time_of_its_last_use(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert (records.read(DIGEST), list(records.every())) == (None, [])

    records.write(DIGEST, RECORD)
    os.utime(records.path(DIGEST), (50, 50))

    assert records.read(DIGEST) == RECORD
    assert list(records.every()) == [(DIGEST, RECORD, 50.0)]
    records.touch(DIGEST)
    ((_, _, used),) = records.every()
    assert used > 50.0


def test_a_removed_record_is_unknown_and_touching_it_makes_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(DIGEST, RECORD)

    records.remove(DIGEST)
    records.remove(DIGEST)
    records.touch(DIGEST)

    assert (records.read(DIGEST), list(records.every())) == (None, [])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"origins": 1}', "null", "\0"])
def test_a_damaged_record_is_none_and_listed_as_such(tmp_path: Path, text: str) -> None:
    records = Records(tmp_path)
    records.write(DIGEST, RECORD)
    records.path(DIGEST).write_text(text, encoding="utf-8")

    assert records.read(DIGEST) is None
    assert [(digest, record) for digest, record, _ in records.every()] == [(DIGEST, None)]


def test_files_that_are_no_records_are_not_listed(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(DIGEST, RECORD)
    for name in (f".{DIGEST.hex}.json.abc", "readme", f"{DIGEST.hex}"):
        (records.path(DIGEST).parent / name).write_text("{}", encoding="utf-8")

    assert [digest for digest, _, _ in records.every()] == [DIGEST]


def test_a_stamp_changes_with_everything_that_can_happen_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    os.utime(path, ns=(1, 1))
    stamps = [stamp_of(path)]
    path.write_bytes(b"CONTENT")
    stamps.append(stamp_of(path))
    path.write_bytes(b"short")
    stamps.append(stamp_of(path))
    path.chmod(0o600)
    stamps.append(stamp_of(path))
    (tmp_path / "copy").write_bytes(b"short")
    shutil.copystat(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    stamps.append(stamp_of(path))

    assert None not in stamps
    assert len(set(stamps)) == len(stamps)
    assert stamp_of(tmp_path) is None
    assert stamp_of(tmp_path / "nothing") is None


def test_a_stamp_tells_size_time_inode_and_mode_of_a_regular_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    path.chmod(0o444)
    os.utime(path, ns=(1, 7_000_000_009))

    assert stamp_from(path.lstat()) == (5, 7_000_000_009, path.stat().st_ino, 0o444)
    assert stamp_from(tmp_path.lstat()) is None
    (tmp_path / "link").symlink_to(path)
    assert stamp_from((tmp_path / "link").lstat()) is None


def test_the_first_one_to_see_a_name_is_right(tmp_path: Path) -> None:
    names = FirstSeenNames(tmp_path)

    assert names.read(SEEN.index, SEEN.name) is None
    assert names.keep(SEEN) == SEEN
    assert names.keep(replace(SEEN, digest=OTHER)) == SEEN
    assert names.read(SEEN.index, SEEN.name) == SEEN
    elsewhere = replace(SEEN, index="https://b.test", digest=OTHER)
    assert names.keep(elsewhere) == elsewhere
    assert {seen for _, seen in names.every()} == {SEEN, elsewhere}


def test_of_many_at_once_one_is_first_for_all(tmp_path: Path) -> None:
    names = FirstSeenNames(tmp_path)
    every = [
        replace(SEEN, digest=Digest.parse(f"{number:064x}"), seen=float(number))
        for number in range(16)
    ]
    told: list[FirstSeen] = []
    start = threading.Barrier(len(every))

    def see(seen: FirstSeen) -> None:
        start.wait()
        told.append(names.keep(seen))

    threads = [threading.Thread(target=see, args=(seen,)) for seen in every]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(told) == len(every)
    assert len(set(told)) == 1
    assert names.read(SEEN.index, SEEN.name) == told[0]
    assert [path.name for path in tmp_path.rglob(".*")] == []


def test_a_forgotten_name_is_seen_anew(tmp_path: Path) -> None:
    names = FirstSeenNames(tmp_path)
    names.keep(SEEN)

    names.forget(SEEN)

    assert names.keep(replace(SEEN, digest=OTHER)).digest == OTHER


def test_a_damaged_note_of_a_name_is_replaced(tmp_path: Path) -> None:
    names = FirstSeenNames(tmp_path)
    names.keep(SEEN)
    ((path, _),) = names.every()
    path.write_text("{", encoding="utf-8")

    assert [seen for _, seen in names.every()] == [None]
    assert names.read(SEEN.index, SEEN.name) is None
    assert names.keep(replace(SEEN, digest=OTHER)).digest == OTHER
    assert names.keep(SEEN).digest == OTHER
