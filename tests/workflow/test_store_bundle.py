"""Bundles between stores: whole or not at all, verified, and believed in nothing."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.adapters.bundle import BundleReader, BundleWriter
from provisioner.adapters.records import FirstSeenNames, Records
from provisioner.adapters.roots import Pins
from provisioner.adapters.store import StoredPage
from provisioner.core.digest import Digest
from provisioner.core.plan import plan_fetch
from provisioner.errors import GpuenvError, IntegrityError, SpaceError, UsageError
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.store_export import Chosen, store_export
from provisioner.workflow.store_import import store_import
from provisioner.workflow.store_pin import store_pin
from provisioner.workflow.store_verify import store_verify
from tests.workflow.stores import FilledStore, content_of, digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.workflow.store_export import ExportResult
    from provisioner.workflow.store_import import ImportResult

ALL = Chosen(every=True)
PAGE = "https://index.test/simple/demo/"


@dataclass
class Machines:
    """A store that has something, and one that has nothing."""

    here: FilledStore
    there: FilledStore
    bundle: Path

    def export(self, chosen: Chosen = ALL) -> ExportResult:
        """Export from the one."""
        options = replace(self.here.options, force=True)
        return store_export(self.here.world, options, chosen, self.bundle)

    def take(self, *, pin: bool = True) -> ImportResult:
        """Import into the other."""
        return store_import(self.there.world, self.there.options, self.bundle, pin=pin)

    def take_bytes(self, content: bytes) -> ImportResult:
        """Import a stream into the other."""
        return store_import(self.there.world, self.there.options, io.BytesIO(content), pin=True)

    def members(self) -> dict[str, bytes]:
        """What the bundle has."""
        with self.bundle.open("rb") as file:
            reader = BundleReader(file)
            return {path: b"".join(reader.blocks()) for path, _ in reader.members()}

    def manifest(self) -> dict[str, Any]:
        """What its first member says."""
        found: dict[str, Any] = json.loads(self.members()["manifest.json"])
        return found


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    """Two machines that know nothing of each other."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    return Machines(
        FilledStore(tmp_path / "here"),
        FilledStore(tmp_path / "there", now=time.time() + 60),
        tmp_path / "demo.tar",
    )


def bundled(members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    writer = BundleWriter(file, 0)
    for path, content in members:
        writer.add(path, len(content), [content])
    writer.end()
    return file.getvalue()


def kept_page(filled: FilledStore, url: str, body: bytes, *, stored: float = 5.0) -> None:
    page = StoredPage(url=url, headers={"content-type": "text/html"}, stored=stored, body=body)
    filled.store.keep_page(f"{url}\ntext/html", page)


def test_everything_that_is_known_of_a_file_comes_with_it(machines: Machines) -> None:
    source = machines.here.blob("demo-1.0.tar.gz")
    tool = machines.here.blob("tool-1.0-py3-none-any.whl")
    Ledger(machines.here.store).built_with([source], [tool])
    kept_page(machines.here, PAGE, b"<a>")
    url = "https://elsewhere.test/tool.whl"
    machines.here.store.keep_page(
        url, StoredPage(url=url, headers={"etag": '"x"'}, stored=6.0, digest=tool)
    )

    exported = machines.export()
    result = machines.take()

    assert exported.blobs == result.imported
    assert (result.imported.files, result.held.files, result.pages) == (2, 0, 2)
    assert machines.there.held() == {source, tool}
    for digest in (source, tool):
        assert machines.there.store.verify(digest)
        here, there = (
            Records(each.store.root).read(digest) for each in (machines.here, machines.there)
        )
        assert here is not None
        assert there is not None
        assert (there.origins, there.needs) == (here.origins, here.needs)
    assert {seen for _, seen in FirstSeenNames(machines.there.store.root).every()} == {
        seen for _, seen in FirstSeenNames(machines.here.store.root).every()
    }
    for key in (f"{PAGE}\ntext/html", url):
        assert machines.there.store.page(key) == machines.here.store.page(key)
    verified = store_verify(machines.there.world, machines.there.options, quick=True, repair=False)
    assert (verified.hashed, verified.failure()) == (0, None)


def test_a_project_takes_its_files_what_builds_them_and_their_pages(machines: Machines) -> None:
    names = ("demo-1.0.tar.gz", "tool-1.0-py3-none-any.whl", "other-1.0-py3-none-any.whl")
    demo, tool, other = (machines.here.blob(name) for name in names)
    Ledger(machines.here.store).built_with([demo], [tool])
    folder = machines.here.project("app", last=[other], planned=[demo])
    (folder / "uv.lock").write_text("a lock", encoding="utf-8")
    kept_page(machines.here, PAGE, b"of demo")
    kept_page(machines.here, "https://index.test/simple/tool/", b"of tool")
    kept_page(machines.here, "https://index.test/simple/other/", b"of other")
    machines.here.options = replace(machines.here.options, project=folder)

    result = machines.export(Chosen())

    assert (result.name, result.blobs.files, result.pages) == ("app", 2, 2)
    assert result.locks == ("uv.lock",)
    members = machines.members()
    assert {path for path in members if path.startswith("blobs/")} == {
        f"blobs/{demo}",
        f"blobs/{tool}",
    }
    assert {body for path, body in members.items() if path.startswith("pages/")} == {
        b"of demo",
        b"of tool",
    }
    assert [body for path, body in members.items() if path.startswith("locks/")] == [b"a lock"]
    assert str(machines.here.root) not in json.dumps(machines.manifest())
    assert machines.take().locks == ("uv.lock",)


def test_what_nobody_knows_how_to_build_is_said(machines: Machines) -> None:
    machines.here.blob("demo-1.0.tar.gz")
    (note,) = machines.export().notes
    assert "what it takes to build `demo-1.0.tar.gz` is not known" in note


def test_files_and_pins_are_exported_by_their_names(machines: Machines) -> None:
    demo, other = machines.here.blob("demo.whl"), machines.here.blob("other.whl")
    assert machines.export(Chosen(words=("demo*",))).name == "demo.whl"
    assert f"blobs/{other}" not in machines.members()
    store_pin(machines.here.world, machines.here.options, ("other.whl",), remove=False)
    assert machines.export(Chosen(pins=("other.whl",))).blobs.files == 1
    assert f"blobs/{demo}" not in machines.members()


def test_a_file_of_a_lower_store_is_exported_too(machines: Machines) -> None:
    digest = machines.here.blob("demo.whl")
    variables = {"GPUENV_STORE_LOWER": str(machines.here.store.root)}
    world = replace(machines.there.world, variables=variables)

    result = store_export(world, machines.there.options, ALL, machines.bundle)

    assert result.blobs.files == 1
    assert machines.members()[f"blobs/{digest}"] == content_of("demo.whl")
    (blob,) = machines.manifest()["blobs"]
    assert blob["origins"][0]["name"] == "demo.whl"


def test_a_damaged_file_is_4_and_there_is_no_bundle(machines: Machines) -> None:
    digest = machines.here.blob("demo.whl")
    path = machines.here.store.blob(digest)
    path.chmod(0o644)
    path.write_bytes(b"\0" + path.read_bytes()[1:])

    with pytest.raises(IntegrityError) as caught:
        machines.export()

    assert caught.value.exit_code == 4
    assert digest.hex in caught.value.causes[0]
    assert sorted(machines.bundle.parent.iterdir()) == [machines.here.root, machines.there.root]


def test_a_file_that_is_missing_is_named_and_there_is_no_bundle(machines: Machines) -> None:
    folder = machines.here.project("app", planned=[digest_of("demo.whl")])
    machines.here.options = replace(machines.here.options, project=folder)

    with pytest.raises(GpuenvError) as caught:
        machines.export(Chosen())

    assert caught.value.code == "missing"
    assert digest_of("demo.whl").hex in caught.value.causes[0]
    assert not machines.bundle.exists()


def test_the_time_of_members_has_to_be_a_number(machines: Machines) -> None:
    world = replace(machines.here.world, variables={"SOURCE_DATE_EPOCH": "today"})
    with pytest.raises(UsageError):
        store_export(world, machines.here.options, ALL, machines.bundle)


def test_what_is_held_already_is_skipped_and_learns_what_the_bundle_knows(
    machines: Machines,
) -> None:
    held = machines.there.blob("demo.whl", url="https://mirror.test/demo.whl")
    machines.here.blob("demo.whl")
    machines.here.blob("other.whl")
    machines.export()
    before = machines.there.store.blob(held).stat()

    result = machines.take()

    assert (result.imported.files, result.held.files) == (1, 1)
    after = machines.there.store.blob(held).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    record = Records(machines.there.store.root).read(held)
    assert record is not None
    assert {origin.url for origin in record.origins} == {
        "https://mirror.test/demo.whl",
        "https://index.test/files/demo.whl",
    }


def test_a_damaged_file_of_the_store_is_mended_by_a_bundle(machines: Machines) -> None:
    digest = machines.there.blob("demo.whl")
    path = machines.there.store.blob(digest)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    machines.here.blob("demo.whl")
    machines.export()

    assert machines.take().imported.files == 1
    assert machines.there.store.verify(digest)


def test_names_that_were_seen_with_other_bytes_are_all_told_and_nothing_is_taken(
    machines: Machines,
) -> None:
    urls = [f"https://index.test/files/{name}" for name in ("a.whl", "b.whl")]
    for number, url in enumerate(urls):
        machines.here.blob(f"here-{number}", url=url)
        machines.there.blob(f"there-{number}", url=url)
    machines.here.blob("c.whl")
    machines.export()
    before = machines.there.held()

    with pytest.raises(IntegrityError) as caught:
        machines.take()

    assert (caught.value.exit_code, caught.value.code) == (4, "file-changed")
    assert len(caught.value.causes) == 2
    assert machines.there.held() == before
    assert list((machines.there.store.root / "pins").glob("*")) == []


def test_wrong_bytes_are_4_with_both_hashes_and_what_was_complete_stays(
    machines: Machines,
) -> None:
    digests = sorted(machines.here.blob(name) for name in ("a.whl", "b.whl", "c.whl"))
    machines.export()
    members = machines.members()
    spoilt = f"blobs/{digests[1]}"
    members[spoilt] = b"\0" + members[spoilt][1:]

    with pytest.raises(IntegrityError) as caught:
        machines.take_bytes(bundled(list(members.items())))

    assert caught.value.code == "wrong-hash"
    assert f"expected sha256 `{digests[1]}`, got `" in caught.value.causes[0]
    assert machines.there.held() == {digests[0]}
    assert list((machines.there.store.root / "partial").glob("*/")) == []
    # The whole bundle goes on from there.
    again = machines.take()
    assert (again.imported.files, again.held.files) == (2, 1)


@pytest.mark.parametrize("where", [0, 300, 700, 3000, -512, -2000])
def test_a_bundle_that_is_cut_off_is_refused_and_what_was_complete_stays(
    machines: Machines, where: int
) -> None:
    digests = {machines.here.blob(f"{number}.whl") for number in range(4)}
    machines.export()
    content = machines.bundle.read_bytes().rstrip(b"\0")
    with pytest.raises(GpuenvError) as caught:
        machines.take_bytes(content[:where])

    assert caught.value.code in {"bundle-damaged", "bundle-format"}
    assert machines.there.held() < digests
    assert all(machines.there.store.verify(digest) for digest in machines.there.held())
    assert list((machines.there.store.root / "partial").glob("*/")) == []


def test_members_that_the_manifest_does_not_have_once_are_refused(machines: Machines) -> None:
    digest = machines.here.blob("demo.whl")
    machines.export()
    members = list(machines.members().items())
    outside = machines.bundle.parent / "outside"
    causes = {}
    for name, spoilt in {
        "other": [*members, ("blobs/other", b"x")],
        "path": [*members, (f"../../{outside.name}", b"x")],
        "twice": [*members, members[-1]],
        "absent": members[:-1],
        "manifest twice": [*members, members[0]],
        "size": [members[0], (members[1][0], b"x")],
    }.items():
        with pytest.raises(IntegrityError) as caught:
            machines.take_bytes(bundled(spoilt))
        assert caught.value.code == "bundle-damaged"
        (causes[name],) = caught.value.causes
    assert causes == {
        "other": "`blobs/other` is not in its manifest",
        "path": f"`../../{outside.name}` is not in its manifest",
        "twice": f"`blobs/{digest}` is there twice",
        "absent": "`demo.whl` is not there",
        "manifest twice": "`manifest.json` is not in its manifest",
        "size": f"`demo.whl` has 1 bytes, its manifest says {len(content_of('demo.whl'))}",
    }
    assert not outside.exists()


def test_what_is_no_bundle_is_told_apart_from_a_damaged_one(machines: Machines) -> None:
    machines.here.blob("demo.whl")
    machines.export()
    members = list(machines.members().items())
    newer = members[0][1].replace(b'"gpuenv-bundle": 1', b'"gpuenv-bundle": 9')
    for content in (b"", b"noise" * 500, bundled(members[1:]), bundled([("manifest.json", newer)])):
        with pytest.raises(GpuenvError) as caught:
            machines.take_bytes(content)
        assert (caught.value.code, caught.value.exit_code) == ("bundle-format", 1)
    assert "it has `9`" in caught.value.causes[0]


def test_a_later_page_stays_and_none_comes_from_the_future(machines: Machines) -> None:
    machines.here.blob("demo-1.0-py3-none-any.whl")
    kept_page(machines.here, PAGE, b"older", stored=5.0)
    kept_page(machines.there, PAGE, b"newer", stored=6.0)
    machines.export()
    assert machines.take().pages == 0
    page = machines.there.store.page(f"{PAGE}\ntext/html")
    assert page is not None
    assert page.body == b"newer"

    kept_page(machines.here, PAGE, b"newest", stored=machines.here.now + 1e6)
    machines.export()
    assert machines.take().pages == 1
    page = machines.there.store.page(f"{PAGE}\ntext/html")
    assert page is not None
    assert (page.body, page.stored) == (b"newest", machines.there.now)


def test_a_pin_keeps_what_came_until_it_is_removed(machines: Machines) -> None:
    first = machines.here.blob("a.whl")
    machines.export()
    assert machines.take().pin == "demo.tar"
    machines.here.store.blob(first).unlink()
    second = machines.here.blob("b.whl")
    machines.export()
    machines.take()

    # Another bundle of the same name takes nothing away.
    assert machines.there.gc().removals == ()
    (pin,) = store_pin(
        machines.there.world, machines.there.options, ("demo.tar",), remove=True
    ).changed
    assert pin.kind == "bundle"
    assert pin.digests == {first, second}
    machines.there.gc()
    assert machines.there.held() == set()


def test_without_a_pin_gc_takes_what_nobody_needs(machines: Machines) -> None:
    machines.here.blob("a.whl")
    machines.export()
    assert machines.take(pin=False).pin is None
    assert list(Pins(machines.there.store.root).every()) == []
    for path in machines.there.store.root.rglob("*"):
        os.utime(path, (1.0, 1.0))
    machines.there.gc()
    assert machines.there.held() == set()


def test_a_bundle_for_which_there_is_no_room_is_refused_before_anything_comes(
    machines: Machines,
) -> None:
    machines.here.blob("demo.whl")
    machines.export()
    members = list(machines.members().items())
    manifest = json.loads(members[0][1])
    manifest["blobs"][0]["size"] = 1 << 60

    with pytest.raises(SpaceError) as caught:
        machines.take_bytes(bundled([("manifest.json", json.dumps(manifest).encode())]))

    assert caught.value.exit_code == 5
    assert machines.there.held() == set()


def test_what_came_from_a_bundle_is_held_for_a_plan(machines: Machines) -> None:
    digest = machines.here.blob("demo.whl")
    machines.export()
    machines.take()
    file = machines.there.locked("demo.whl", digest)
    assert plan_fetch([file], Ledger(machines.there.store)).held == (file,)
    with pytest.raises(IntegrityError):
        Ledger(machines.there.store).check([replace(file, digest=Digest("ab" * 32))])
