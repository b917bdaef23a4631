"""Wheels that were built here are blobs as all others: collected, verified, exported, imported."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.records import Records
from provisioner.adapters.static_index import StaticIndex
from provisioner.core.blob_record import Built
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.store_export import Chosen, store_export
from provisioner.workflow.store_import import store_import
from provisioner.workflow.store_list import store_list
from provisioner.workflow.store_verify import store_verify
from tests.workflow.stores import LONG_AGO, FilledStore

if TYPE_CHECKING:
    import io
    from pathlib import Path

    from provisioner.core.digest import Digest

SDIST = "demo-1.0.tar.gz"
WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def filled(tmp_path: Path) -> FilledStore:
    """A store without anything."""
    return FilledStore(tmp_path)


def build(filled: FilledStore, source: Digest, content: bytes = b"a wheel") -> Digest:
    """A wheel that was built from a source distribution a long time ago."""

    def write(file: io.BufferedRandom) -> str:
        file.write(content)
        return WHEEL

    digest, name = filled.store.keep_made(write)  # type: ignore[arg-type]
    Ledger(filled.store).made(digest, Built(name=name, source=source))
    filled.used(digest, LONG_AGO)
    return digest


def link(filled: FilledStore, digest: Digest) -> Path | None:
    return StaticIndex(filled.store.root).link(digest, WHEEL)


def test_what_is_made_becomes_a_blob_whole_and_read_only(filled: FilledStore) -> None:
    digest = build(filled, filled.blob(SDIST))
    path = filled.store.blob(digest)
    assert digest.hex == hashlib.sha256(b"a wheel").hexdigest()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"a wheel", 0o444)
    assert list((filled.store.root / "partial").glob("made-*")) == []
    assert digest in Ledger(filled.store)


def test_what_cannot_be_made_leaves_nothing(filled: FilledStore) -> None:
    def fail(_: object) -> str:
        message = "no wheel"
        raise ValueError(message)

    with pytest.raises(ValueError, match="no wheel"):
        filled.store.keep_made(fail)
    assert filled.held() == set()
    assert list((filled.store.root / "partial").glob("made-*")) == []


def test_what_is_made_again_takes_the_place_of_a_damaged_one(filled: FilledStore) -> None:
    source = filled.blob(SDIST)
    path = filled.store.blob(build(filled, source))
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    again = build(filled, source)
    assert filled.store.blob(again).read_bytes() == b"a wheel"
    assert again in Ledger(filled.store)


def test_it_stays_as_long_as_the_environment_and_goes_with_its_link(filled: FilledStore) -> None:
    source = filled.blob(SDIST)
    wheel = build(filled, source)
    folder = filled.root / "projects" / "app"
    filled.project("app", [filled.environment("app-1", folder, [source, wheel])])
    assert filled.gc().removals == ()
    assert link(filled, wheel) is not None

    filled.project("app", [])
    filled.gc()
    assert filled.held() == set()
    assert list((filled.store.root / "simple").glob("demo*")) == []
    text = (filled.store.root / "simple" / "links.html").read_text(encoding="utf-8")
    assert "demo" not in text


def test_gc_takes_a_blob_off_the_pages_and_leaves_the_others(filled: FilledStore) -> None:
    kept, gone = filled.blob("kept-1.0.tar.gz"), filled.blob("gone-1.0.tar.gz")
    filled.project("app", planned=[kept])
    filled.gc()
    index = StaticIndex(filled.store.root)
    assert index.link(gone, "gone-1.0.tar.gz") is None
    assert index.link(kept, "kept-1.0.tar.gz") is not None
    text = (filled.store.root / "simple" / "index.html").read_text(encoding="utf-8")
    assert ("kept/" in text, "gone" in text) == (True, False)


def test_a_damaged_blob_is_not_listed_until_it_is_fetched_anew(filled: FilledStore) -> None:
    digest = filled.blob(SDIST)
    path = filled.store.blob(digest)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert digest not in Ledger(filled.store)
    assert StaticIndex(filled.store.root).link(digest, SDIST) is None
    assert not (filled.store.root / "simple" / "demo").exists()
    filled.blob(SDIST)
    assert StaticIndex(filled.store.root).link(digest, SDIST) is not None


def test_a_damaged_one_is_removed_by_a_repair_and_waits_for_the_next_prepare(
    filled: FilledStore,
) -> None:
    wheel = build(filled, filled.blob(SDIST))
    path = filled.store.blob(wheel)
    path.chmod(0o644)
    path.write_bytes(b"damaged")

    found = store_verify(filled.world, filled.options, quick=False, repair=False)
    assert [(item.built, item.repaired) for item in found.damage] == [(True, False)]
    mended = store_verify(filled.world, filled.options, quick=False, repair=True)
    assert mended.failure() is None
    assert [item.repaired for item in mended.damage] == [True]
    assert not path.exists()
    assert link(filled, wheel) is None
    assert Records(filled.store.root).read(wheel) is None


def test_list_tells_what_it_was_built_from(filled: FilledStore) -> None:
    source = filled.blob(SDIST)
    wheel = build(filled, source)
    files = {file.digest: file for file in store_list(filled.world, filled.options).files}
    assert (files[wheel].names, files[wheel].source) == ((WHEEL,), SDIST)
    assert (files[source].names, files[source].source) == ((SDIST,), None)


def test_a_bundle_has_it_with_its_name_and_origin(filled: FilledStore, tmp_path: Path) -> None:
    source = filled.blob(SDIST)
    wheel = build(filled, source)
    bundle = tmp_path / "b.tar"
    store_export(filled.world, filled.options, Chosen(every=True), bundle)

    (tmp_path / "there").mkdir()
    other = FilledStore(tmp_path / "there")
    store_import(other.world, other.options, bundle, pin=True)
    record = Records(other.store.root).read(wheel)
    assert record is not None
    assert record.built == Built(name=WHEEL, source=source)
    for digest, name in ((wheel, WHEEL), (source, SDIST)):
        assert StaticIndex(other.store.root).link(digest, name) is not None


def test_links_that_are_lost_are_made_again_by_a_repair(filled: FilledStore) -> None:
    source = filled.blob(SDIST)
    wheel = build(filled, source)
    index = StaticIndex(filled.store.root)
    shutil.rmtree(index.folder)
    store_verify(filled.world, filled.options, quick=True, repair=True)
    assert link(filled, wheel) is not None
    assert index.link(source, SDIST) is not None
    assert index.links.is_file()
