"""What is noted of blobs is kept beside other processes, and what is right is never removed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._files import stamp_of
from provisioner.adapters.leases import Leases
from provisioner.adapters.records import FirstSeenNames, Records
from provisioner.errors import IntegrityError
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.store_pin import store_forget
from tests.workflow.stores import FilledStore, content_of, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.core.digest import Digest

ROOT = Path(__file__).parents[2]

BESIDE_VERIFY = """
import sys
from pathlib import Path
from provisioner.adapters.records import Records
from provisioner.core.digest import Digest
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.store_verify import store_verify
from tests.workflow.stores import FilledStore, content_of, digest_of

filled = FilledStore(Path(sys.argv[1]))
digest = digest_of("x")
path = filled.store.place(digest)
path.parent.mkdir(exist_ok=True)
done = False

def hook(event, arguments):
    global done
    if event == "open" and not done and str(arguments[0]).startswith(sys.argv[2]):
        done = True
        meanwhile()

def noted():
    # The other process had published it, and now notes what it knows.
    Ledger(filled.store).arrived(filled.locked("x", digest), hashed=True)
    Ledger(filled.store).built_with([digest], [Digest("ab" * 32)])

def fetched():
    path.unlink()
    filled.blob("x")

if sys.argv[3] == "noted":
    path.write_bytes(content_of("x"))
    meanwhile = noted
else:
    filled.blob("x", url="http://127.0.0.1:9/x")
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    meanwhile = fetched
path.chmod(0o444)
sys.addaudithook(hook)
result = store_verify(filled.world, filled.options, quick=False, repair=sys.argv[3] == "fetched")
assert done
record = Records(filled.store.root).read(digest)
print([item.repaired for item in result.damage], filled.store.verify(digest))
print([item.name for item in record.origins], len(record.needs or ()), digest in filled.store)
"""


@pytest.fixture
def filled(tmp_path: Path) -> FilledStore:
    """A store without anything."""
    return FilledStore(tmp_path)


def left_over(filled: FilledStore, name: str) -> Digest:
    """A blob whose process was killed before it noted anything."""
    digest = digest_of(name)
    path = filled.store.place(digest)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content_of(name))
    path.chmod(0o444)
    return digest


def damaged(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    path.chmod(0o444)


def while_removing(filled: FilledStore, act: Callable[[], object], remove: Path) -> list[object]:
    """What an act that a collection keeps waiting gives; the collection removes a file."""
    told: list[object] = []
    thread = threading.Thread(target=lambda: told.append(act()))
    with Leases(filled.store.root).removing():
        thread.start()
        thread.join(0.3)
        remove.unlink(missing_ok=True)
    thread.join(30)
    return told


def test_that_a_build_needs_nothing_is_known_once_it_was_noted(filled: FilledStore) -> None:
    source = filled.blob("demo-1.0.tar.gz")
    ledger = Ledger(filled.store)
    assert not ledger.knows_build(source)

    ledger.built_with([source], [])

    assert Ledger(filled.store).knows_build(source)


def test_what_a_collection_is_removing_is_not_held(filled: FilledStore) -> None:
    digest = filled.blob("x")
    ledger = Ledger(filled.store)

    told = while_removing(filled, lambda: digest in ledger, filled.store.place(digest))

    assert told == [False]


def test_what_is_noted_of_an_arrival_is_not_removed_with_an_older_record(
    filled: FilledStore,
) -> None:
    digest = filled.blob("x")
    records = Records(filled.store.root)
    arrived = filled.locked("x", digest)

    while_removing(
        filled,
        lambda: Ledger(filled.store).arrived(arrived, hashed=True),
        records.path(digest),
    )

    record = records.read(digest)
    assert record is not None
    assert [origin.url for origin in record.origins] == [arrived.url]


def test_what_is_taken_while_a_collection_waits_stays(filled: FilledStore) -> None:
    digest = filled.blob("x")
    collector = threading.Thread(target=filled.gc)
    leases = Leases(filled.store.root)
    with leases.working():
        with leases.taking():
            collector.start()
            collector.join(0.3)
            Records(filled.store.root).touch(digest)
        collector.join(30)

    assert filled.held() == {digest}


def test_whoever_waits_for_a_collection_is_told_so(filled: FilledStore) -> None:
    digest = filled.blob("x")
    notes: list[str] = []
    ledger = Ledger(filled.store, notes.append)

    while_removing(filled, lambda: digest in ledger, filled.root / "nothing")

    (note,) = notes
    assert f"waiting for process {os.getpid()}" in note


def test_a_clock_that_was_set_back_costs_nothing_that_was_taken(filled: FilledStore) -> None:
    digest = filled.blob("x")
    with Leases(filled.store.root).working():
        (lease,) = (filled.store.root / "leases").iterdir()
        ahead = filled.now + 3600
        os.utime(lease, (ahead, ahead))
        assert digest in Ledger(filled.store)

        filled.gc()

        assert filled.held() == {digest}


def test_a_damaged_blob_that_was_fetched_anew_meanwhile_is_not_removed(
    filled: FilledStore,
) -> None:
    digest = filled.blob("x")
    path = filled.store.place(digest)
    damaged(path)
    found = stamp_of(path)
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(filled.store.drop(digest, found)))
    # Another process, which has found the same, is at it.
    with filled.store.claim(digest.hex, lambda _: None):
        thread.start()
        thread.join(0.3)
        filled.blob("x")
    thread.join(30)

    assert told == [False]
    assert not filled.store.drop(digest, found)
    assert (filled.held(), filled.store.verify(digest)) == ({digest}, True)
    assert filled.store.drop(digest, stamp_of(path))
    assert filled.held() == set()


def test_what_another_process_notes_beside_a_verify_is_kept(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_VERIFY, str(tmp_path), f"{tmp_path}/store/blobs", "noted"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.splitlines() == ["[] True", "['x'] 1 True"], done.stderr


def test_what_another_process_fetches_anew_beside_a_repair_is_kept(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_VERIFY, str(tmp_path), f"{tmp_path}/store/lea", "fetched"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.splitlines() == ["[True] True", "['x', 'x'] 0 True"], done.stderr


def test_a_held_file_that_another_index_names_is_seen_there_too(filled: FilledStore) -> None:
    digest = filled.blob("demo-1.whl")
    url = "https://mirror.test/demo-1.whl"
    mirrored = replace(filled.locked("demo-1.whl", digest, url), index="https://mirror.test/simple")
    ledger = Ledger(filled.store)

    ledger.check([mirrored])

    with pytest.raises(IntegrityError) as caught:
        ledger.check([replace(mirrored, digest=digest_of("other"))])
    assert caught.value.code == "file-changed"
    record = Records(filled.store.root).read(digest)
    assert record is not None
    assert record.origins[0].url == url


def test_what_a_killed_process_did_not_note_the_next_one_notes(filled: FilledStore) -> None:
    digest = left_over(filled, "x")
    file = filled.locked("x", digest)
    ledger = Ledger(filled.store)
    assert digest in ledger

    ledger.check([file])

    record = Records(filled.store.root).read(digest)
    assert record is not None
    assert [origin.name for origin in record.origins] == ["x"]
    ((_, seen),) = FirstSeenNames(filled.store.root).every()
    assert seen is not None
    assert (seen.name, seen.digest) == ("x", digest)


def test_what_is_missing_is_not_seen_by_being_asked_for(filled: FilledStore) -> None:
    Ledger(filled.store).check([filled.locked("x", digest_of("x"))])

    assert list(FirstSeenNames(filled.store.root).every()) == []
    assert Records(filled.store.root).read(digest_of("x")) is None


def test_after_a_name_was_forgotten_old_and_new_locks_hold_and_no_third(
    filled: FilledStore,
) -> None:
    old = filled.locked("demo.whl", filled.blob("demo.whl"))
    ledger = Ledger(filled.store)
    store_forget(filled.world, filled.options, ["demo.whl"])
    # The project with the old lock comes first.
    ledger.check([old])
    new = replace(old, digest=filled.blob("other bytes", url=old.url))

    ledger.check([old])
    ledger.check([new])

    with pytest.raises(IntegrityError):
        ledger.check([replace(old, digest=digest_of("third"))])


def test_the_hint_names_every_file_that_has_changed(filled: FilledStore) -> None:
    files = [filled.locked(name, filled.blob(name)) for name in ("a.whl", "b.whl")]

    with pytest.raises(IntegrityError) as caught:
        Ledger(filled.store).check([replace(file, digest=digest_of("c")) for file in files])

    assert len(caught.value.causes) == 2
    assert all("`, the index has `" in cause for cause in caught.value.causes)
    assert "`gpuenv store forget a.whl b.whl`" in str(caught.value.hint)


def test_a_link_in_a_blobs_place_is_not_held_and_its_target_is_left_alone(
    filled: FilledStore,
) -> None:
    digest = filled.blob("x")
    mine = filled.root / "mine.whl"
    mine.write_bytes(content_of("x"))
    mine.chmod(0o640)
    path = filled.store.place(digest)
    path.unlink()
    path.symlink_to(mine)

    assert digest not in filled.store
    assert digest not in Ledger(filled.store)
    assert mine.stat().st_mode & 0o777 == 0o640


def test_a_folder_in_a_blobs_place_gives_way_to_the_blob(filled: FilledStore) -> None:
    digest, content = digest_of("x"), content_of("x")
    path = filled.store.place(digest)
    (path / "deep").mkdir(parents=True)

    with filled.store.arriving(digest.hex) as arrival:
        arrival.begin(validator='"a"', size=len(content))
        arrival.write(0, content)
        filled.store.keep(arrival, digest, "x")

    assert path.read_bytes() == content
    assert list((filled.store.root / "trash").iterdir()) == []
