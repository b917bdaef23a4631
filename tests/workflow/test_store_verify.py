"""Damage of every kind is found, and only what is damaged is fetched again."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._files import stamp_of
from provisioner.adapters.http import Http
from provisioner.adapters.records import Records
from provisioner.adapters.store import StoredPage
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile, plan_fetch
from provisioner.errors import IntegrityError
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from provisioner.workflow.store_verify import VerifyResult, store_verify
from provisioner.workflow.world import Options
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel
from tests.workflow.stores import FilledStore, Notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = ("one", "two", "three")
WHEELS = [f"{name}-1.0-py3-none-any.whl" for name in NAMES]


@pytest.fixture
def index() -> Iterator[IndexSimulator]:
    """An index in the manner of NVIDIA's."""
    with IndexSimulator() as started:
        yield started


@pytest.fixture
def files(index: IndexSimulator, tmp_path: Path) -> list[LockedFile]:
    """Three wheels of the index, as a lock names them."""
    made = [index.publish(make_wheel(tmp_path / "w", name, "1.0", size=20_000)) for name in NAMES]
    return [
        LockedFile(
            name=item.filename,
            url=index.file_url(item.filename),
            digest=Digest.parse(item.sha256),
            size=item.size,
            index=index.index_url,
        )
        for item in made
    ]


@pytest.fixture
def filled(tmp_path: Path, files: list[LockedFile], index: IndexSimulator) -> FilledStore:
    """A store into which the wheels were fetched."""
    made = FilledStore(tmp_path / "machine")
    client = Http({"NETRC": str(tmp_path / "none")}, connections=4)
    Pull(made.store, client, (), Quiet(), offline=False).fetch(plan_fetch(files, ()))
    client.close()
    index.reset_log()
    return made


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """With a folder for the machine."""
    (tmp_path / "machine").mkdir()
    return tmp_path


def verify(
    filled: FilledStore, *, quick: bool = False, repair: bool = False, offline: bool = False
) -> VerifyResult:
    options = Options(store=filled.store.root, offline=offline)
    return store_verify(filled.world, options, quick=quick, repair=repair)


def faults(result: VerifyResult) -> list[tuple[str, str]]:
    return [(item.names[0], item.fault) for item in result.damage]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def flip_a_bit_unseen(path: Path) -> None:
    """As a bad disk does: nothing that a stat tells changes."""
    before = path.stat()
    flip_a_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 100)
    path.chmod(0o444)


def replace_by_another_file(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"something else that is not shorter" * 10_000)
    path.chmod(0o444)


def replace_by_a_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    (path / "deep").mkdir(parents=True)


def make_writable(path: Path) -> None:
    path.chmod(0o644)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "bit flip": (flip_a_bit, "wrong-hash"),
    "bit flip that a stat does not show": (flip_a_bit_unseen, "wrong-hash"),
    "truncation": (truncate, "truncated"),
    "another file": (replace_by_another_file, "wrong-hash"),
    "a link": (replace_by_a_link, "replaced"),
    "a folder": (replace_by_a_folder, "replaced"),
    "writable": (make_writable, "writable"),
}


def test_a_store_as_it_was_fetched_has_no_damage(filled: FilledStore) -> None:
    deep, quick = verify(filled), verify(filled, quick=True)

    assert (deep.failure(), quick.failure()) == (None, None)
    assert (deep.checked, deep.hashed) == (3, 3)
    assert (quick.checked, quick.hashed) == (3, 0)
    assert deep.size == sum(filled.store.size(digest) for digest in filled.held())


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_only_that_file_is_fetched_again(
    filled: FilledStore, files: list[LockedFile], index: IndexSimulator, kind: str
) -> None:
    damage, fault = DAMAGE[kind]
    damage(filled.store.blob(files[1].digest))

    found = verify(filled)
    assert faults(found) == [(WHEELS[1], fault)]
    failure = found.failure()
    assert failure is not None
    assert (failure.exit_code, failure.code) == (4, "store-damaged")
    assert WHEELS[1] in failure.causes[0]
    assert failure.data == found.to_json()
    does = "takes the permission to write away" if fault == "writable" else "fetches again"
    assert does in str(failure.hint)

    mended = verify(filled, repair=True)
    assert [(item.fault, item.repaired) for item in mended.damage] == [(fault, True)]
    assert mended.failure() is None
    fetched = 0 if fault == "writable" else 1
    assert [index.gets(name) for name in WHEELS] == [0, fetched, 0]
    assert verify(filled).failure() is None
    assert verify(filled, quick=True).hashed == 0
    assert filled.store.verify(files[1].digest)
    assert list((filled.store.root / "trash").glob("*")) == []


@pytest.mark.parametrize("kind", [name for name in DAMAGE if "does not show" not in name])
def test_by_stat_everything_but_a_silent_bit_flip_is_found(
    filled: FilledStore, files: list[LockedFile], kind: str
) -> None:
    damage, fault = DAMAGE[kind]
    damage(filled.store.blob(files[1].digest))

    found = verify(filled, quick=True)

    assert faults(found) == [(WHEELS[1], fault)]
    assert found.hashed == 1


def test_by_stat_a_copy_of_the_store_is_hashed_once_and_then_trusted(
    filled: FilledStore, tmp_path: Path
) -> None:
    shutil.copytree(filled.store.root, tmp_path / "copy")
    options = Options(store=tmp_path / "copy")

    first, second = (
        store_verify(filled.world, options, quick=True, repair=False) for _ in range(2)
    )

    assert (first.hashed, second.hashed) == (3, 0)
    assert (first.failure(), second.failure()) == (None, None)


def test_a_file_that_a_project_needs_and_that_is_gone_is_fetched_again(
    filled: FilledStore, files: list[LockedFile], index: IndexSimulator
) -> None:
    folder = filled.project("app", last=[files[0].digest], planned=[files[0].digest])
    for file in files[:2]:
        filled.store.blob(file.digest).unlink()

    found = verify(filled, quick=True)
    assert faults(found) == [(WHEELS[0], "missing")]
    assert found.damage[0].projects == (str(folder),)
    assert verify(filled, repair=True).failure() is None
    assert [index.gets(name) for name in WHEELS] == [1, 0, 0]
    assert filled.held() == {files[0].digest, files[2].digest}


def test_what_a_project_has_not_got_yet_is_not_missing(filled: FilledStore) -> None:
    digest = Digest.parse("ab" * 32)
    # Asked for by a run that was killed, and by one that has another store.
    filled.project("app", planned=[digest])
    filled.project("other", last=[Digest.parse("cd" * 32)])

    found = verify(filled)

    assert found.failure() is None
    assert [item.message for item in found.absent] == [
        "`abababab.whl` is needed, and has not come yet",
        f"`{'cd' * 32}` is needed, and has not come yet",
    ]


def test_what_was_dropped_as_damaged_is_gone_also_for_a_project_without_an_environment(
    filled: FilledStore, files: list[LockedFile], tmp_path: Path
) -> None:
    filled.project("app", planned=[files[0].digest])
    truncate(filled.store.blob(files[0].digest))
    client = Http({"NETRC": str(tmp_path / "none")}, connections=1)
    pull = Pull(filled.store, client, (), Quiet(), offline=True)
    with pytest.raises(IntegrityError):
        pull.fetch(plan_fetch(files, pull.ledger))
    client.close()

    assert faults(verify(filled)) == [(WHEELS[0], "missing")]


def test_without_a_record_a_kept_page_tells_where_a_file_is(
    filled: FilledStore, files: list[LockedFile], index: IndexSimulator
) -> None:
    body = f'<a href="{files[0].url}#sha256={files[0].digest}">x</a>'.encode()
    page = StoredPage(
        url=f"{index.index_url}one/", headers={"content-type": "text/html"}, stored=1.0, body=body
    )
    filled.store.keep_page("page", page)
    Records(filled.store.root).remove(files[0].digest)
    flip_a_bit(filled.store.blob(files[0].digest))

    assert verify(filled, repair=True).failure() is None
    assert filled.store.verify(files[0].digest)


def test_what_cannot_be_had_again_is_told_and_not_kept(
    filled: FilledStore, files: list[LockedFile], index: IndexSimulator
) -> None:
    for file in files[:2]:
        flip_a_bit(filled.store.blob(file.digest))
    index.corrupt(WHEELS[0])

    failure = verify(filled, repair=True).failure()

    assert failure is not None
    (cause,) = failure.causes
    assert WHEELS[0] in cause
    assert "; lost: " in cause
    assert "has the wrong hash" in cause
    assert filled.held() == {files[1].digest, files[2].digest}


def test_offline_nobody_is_asked(
    filled: FilledStore, files: list[LockedFile], index: IndexSimulator
) -> None:
    flip_a_bit(filled.store.blob(files[0].digest))

    failure = verify(filled, repair=True, offline=True).failure()

    assert failure is not None
    assert "`--offline` forbids" in failure.causes[0]
    assert index.requests == []


def test_damaged_notes_are_found_and_cost_no_file(
    filled: FilledStore, index: IndexSimulator
) -> None:
    filled.project("app")
    page = StoredPage(url="https://a.test/x/", headers={}, stored=1.0, body=b"body")
    filled.store.keep_page("page", page)
    root = filled.store.root
    first = [
        next(path for path in sorted(root.glob(pattern)) if path.is_file())
        for pattern in ("records/??/*.json", "first-seen/??/*.json", "roots/*.json")
    ]
    body = next(path for path in (root / "pages").iterdir() if path.suffix != ".json")
    for path in (*first, body):
        path.write_bytes(b"{")

    found = verify(filled)
    assert len(found.notes) == 4
    failure = found.failure()
    assert failure is not None
    assert failure.exit_code == 4
    # A right hash has made the record anew already; the others are for `--repair`.
    assert len(verify(filled).notes) == 3
    assert verify(filled, repair=True).failure() is None
    assert verify(filled).notes == ()
    assert index.requests == []
    assert len(filled.held()) == 3


def test_an_empty_store_and_none_at_all_have_no_damage(tmp_path: Path) -> None:
    made = FilledStore(tmp_path / "machine")
    assert verify(made).checked == 0
    shutil.rmtree(made.store.root)
    assert verify(made, repair=True).failure() is None
    assert not made.store.root.exists()


@pytest.mark.parametrize("offline", [True, False])
def test_a_plan_finds_what_a_stat_shows_to_be_damaged_and_with_a_network_it_is_fetched_anew(
    filled: FilledStore,
    files: list[LockedFile],
    index: IndexSimulator,
    tmp_path: Path,
    *,
    offline: bool,
) -> None:
    for file in files[:2]:
        truncate(filled.store.blob(file.digest))
    os.utime(filled.store.blob(files[2].digest))
    client = Http({"NETRC": str(tmp_path / "none")}, connections=4)
    notes = Notes()

    if offline:
        alone = Pull(filled.store, client, (), Quiet(), offline=True)
        with pytest.raises(IntegrityError) as caught:
            alone.fetch(plan_fetch(files, alone.ledger))
        assert (caught.value.exit_code, caught.value.code) == (4, "blob-damaged")
        assert sorted(caught.value.causes) == sorted(
            f"`{file.name}` no longer has sha256 `{file.digest}`" for file in files[:2]
        )
        assert index.requests == []
    pull = Pull(filled.store, client, (), notes, offline=False)
    pull.fetch(plan_fetch(files, pull.ledger))
    client.close()

    told = [f"`{file.name}` was damaged in the store, and is fetched anew" for file in files[:2]]
    assert [note for note in notes.told if "damaged" in note] == ([] if offline else told)
    assert [index.gets(name) for name in WHEELS] == [1, 1, 0]
    for file in files:
        assert filled.store.verify(file.digest)
        record = Records(filled.store.root).read(file.digest)
        assert record is not None
        assert record.stamp == stamp_of(filled.store.blob(file.digest))
