"""Records of blobs and first-seen names: whole, safe beside each other, and dispensable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.adapters._files import stamp_from, stamp_of
from provisioner.adapters.records import FirstSeenNames, Records
from provisioner.core.blob_record import BlobRecord, Origin
from provisioner.core.digest import Digest
from provisioner.core.first_seen import FirstSeen

DIGEST = Digest.parse("ab" * 32)
OTHER = Digest.parse("cd" * 32)
RECORD = BlobRecord(
    origins=(Origin(name="a.whl", url="https://a.test/a.whl", index="https://a.test"),),
    fetched=12.5,
    stamp=(1, 2, 3, 0o444),
    needs=frozenset({OTHER}),
)
WITHOUT_LINKS = """
import sys
from dataclasses import replace
from pathlib import Path
from provisioner.adapters.records import FirstSeenNames
from provisioner.core.digest import Digest
from provisioner.core.first_seen import FirstSeen

def hook(event, arguments):
    if event == "os.link":
        raise PermissionError(1, "no links here")

sys.addaudithook(hook)
names = FirstSeenNames(Path(sys.argv[1]))
seen = FirstSeen(index="i", name="n", digest=Digest.parse("ab" * 32), url="u", seen=1.0)
names.keep(seen)
first = names.keep(replace(seen, digest=Digest.parse("cd" * 32)))
print(first.digest, names.read("i", "n").digest)
"""
SEEN = FirstSeen(index="https://a.test", name="a.whl", digest=DIGEST, url="u", seen=1.0)


def test_a_record_is_kept_and_listed_with_the_time_of_its_last_use(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert (records.read(DIGEST), list(records.every())) == (None, [])

    records.change(DIGEST, lambda _: RECORD)
    os.utime(records.path(DIGEST), (50, 50))

    assert records.read(DIGEST) == RECORD
    assert list(records.every()) == [(DIGEST, RECORD, 50.0)]
    records.touch(DIGEST)
    ((_, _, used),) = records.every()
    assert used > 50.0


def test_a_removed_record_is_unknown_and_touching_it_makes_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.change(DIGEST, lambda _: RECORD)

    records.remove(DIGEST)
    records.remove(DIGEST)
    records.touch(DIGEST)

    assert (records.read(DIGEST), list(records.every())) == (None, [])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"origins": 1}', "null", "\0"])
def test_a_damaged_record_is_none_and_listed_as_such(tmp_path: Path, text: str) -> None:
    records = Records(tmp_path)
    records.change(DIGEST, lambda _: RECORD)
    records.path(DIGEST).write_text(text, encoding="utf-8")

    assert records.read(DIGEST) is None
    assert [(digest, record) for digest, record, _ in records.every()] == [(DIGEST, None)]


def test_an_empty_record_is_what_a_power_failure_left_and_tells_nothing(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.change(DIGEST, lambda _: RECORD)
    records.path(DIGEST).write_text("", encoding="utf-8")

    assert records.read(DIGEST) == BlobRecord()
    assert [(digest, record) for digest, record, _ in records.every()] == [(DIGEST, BlobRecord())]


def test_of_two_changes_at_once_none_is_lost(tmp_path: Path) -> None:
    records = Records(tmp_path)
    second = threading.Thread(
        target=lambda: records.change(
            DIGEST, lambda known: replace(known, needs=(known.needs or frozenset()) | {OTHER})
        )
    )

    def first(known: BlobRecord) -> BlobRecord:
        second.start()
        second.join(0.3)
        return replace(known, fetched=5.0)

    records.change(DIGEST, first)
    second.join()

    assert records.read(DIGEST) == BlobRecord(fetched=5.0, needs=frozenset({OTHER}))


def test_files_that_are_no_records_are_not_listed(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.change(DIGEST, lambda _: RECORD)
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


def test_without_links_too_the_first_one_to_see_a_name_is_right(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LINKS, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout.split()) == (0, ["ab" * 32, "ab" * 32]), done.stderr


def test_a_forgotten_name_is_seen_anew_and_what_it_had_stays_right(tmp_path: Path) -> None:
    names = FirstSeenNames(tmp_path)
    names.keep(SEEN)
    assert not names.was_right(SEEN.index, SEEN.name, DIGEST)

    names.forget(SEEN)

    assert names.was_right(SEEN.index, SEEN.name, DIGEST)
    assert names.keep(SEEN) == SEEN
    assert names.read(SEEN.index, SEEN.name) is None
    again = replace(SEEN, digest=OTHER)
    assert names.keep(again) == again
    assert names.keep(SEEN) == SEEN
    third = replace(SEEN, digest=Digest.parse("ef" * 32))
    assert names.keep(third) == again
    names.forget(again)
    assert names.keep(third) == third
    assert all(names.was_right(SEEN.index, SEEN.name, digest) for digest in (DIGEST, OTHER))
    below = FirstSeenNames(tmp_path / "above", [tmp_path])
    assert below.keep(SEEN) == SEEN


def test_a_damaged_note_of_a_name_is_replaced(tmp_path: Path) -> None:
    names = FirstSeenNames(tmp_path)
    names.keep(SEEN)
    ((path, _),) = names.every()
    path.write_text("{", encoding="utf-8")

    assert [seen for _, seen in names.every()] == [None]
    assert names.read(SEEN.index, SEEN.name) is None
    assert names.keep(replace(SEEN, digest=OTHER)).digest == OTHER
    assert names.keep(SEEN).digest == OTHER
