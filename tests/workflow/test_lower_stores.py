"""A store over others: what they hold counts, and nothing is ever written there."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._origin import FileAnswer, Request
from provisioner.adapters.http import Http
from provisioner.adapters.records import FirstSeenNames, Records
from provisioner.adapters.roots import Pin, Pins
from provisioner.adapters.store import Store, StoredPage, lower_roots
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile, plan_fetch
from provisioner.errors import GpuenvError, IntegrityError, NetworkError
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.place import store_of
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from provisioner.workflow.store_gc import store_gc
from provisioner.workflow.store_list import store_info, store_list
from provisioner.workflow.store_pin import store_forget
from provisioner.workflow.store_policy import store_policy
from provisioner.workflow.store_verify import store_verify
from provisioner.workflow.world import Options
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel
from tests.workflow.stores import NO_LIMITS, FilledStore, Notes, content_of, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.workflow.world import World

WHEEL = "demo-1.0-py3-none-any.whl"


@dataclass
class Stack:
    """A store over another one that a machine's owner has filled."""

    upper: FilledStore
    lower: FilledStore
    notes: Notes = field(default_factory=Notes)

    @property
    def world(self) -> World:
        """The world of the store above."""
        variables = {"NETRC": "none", "GPUENV_STORE_LOWER": str(self.lower.store.root)}
        return replace(self.upper.world, variables=variables, progress=self.notes)

    @property
    def options(self) -> Options:
        """Those that name it."""
        return self.upper.options

    @property
    def store(self) -> Store:
        """It, over the other one."""
        return store_of(self.world, self.options)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Two stores, each on a machine of its own; the lower one stays as it is."""
    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
    made = Stack(FilledStore(tmp_path / "upper"), FilledStore(tmp_path / "lower"))
    yield made
    locks = {path.name for path in made.lower.store.root.rglob("*.lock")}
    assert locks <= {"notes.lock"}  # Of filling it.


@pytest.fixture
def pull(stack: Stack) -> Iterator[Pull]:
    """What fetches into the store above."""
    client = Http({"NETRC": "none"}, connections=4)
    yield Pull(stack.store, client, (), stack.notes, offline=False)
    client.close()


def fingerprint(root: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in a folder, as it lies there."""
    return {
        str(path.relative_to(root)): (found.st_mtime_ns, found.st_ino, found.st_size)
        for path in sorted(root.rglob("*"))
        for found in [path.lstat()]
    }


def damage(path: Path) -> None:
    """Change a byte without changing the size."""
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"\0" + content[1:])
    path.chmod(0o444)


def published(index: IndexSimulator, folder: Path) -> LockedFile:
    made = index.publish(make_wheel(folder, "demo", "1.0", size=20_000))
    return LockedFile(
        name=made.filename,
        url=index.file_url(made.filename),
        digest=Digest.parse(made.sha256),
        size=made.size,
        index=index.index_url,
    )


def fetched_below(stack: Stack, file: LockedFile) -> None:
    """Let the lower store have fetched a file."""
    client = Http({"NETRC": "none"}, connections=4)
    pull = Pull(stack.lower.store, client, (), Quiet(), offline=False)
    pull.fetch(plan_fetch([file], ()))
    client.close()
    for path in stack.lower.store.root.rglob("*.lock"):
        path.unlink()
    (stack.lower.store.root / "lock").unlink(missing_ok=True)


def test_what_a_lower_store_holds_is_neither_fetched_nor_copied_nor_touched(
    stack: Stack, pull: Pull, tmp_path: Path
) -> None:
    with IndexSimulator() as index:
        file = published(index, tmp_path)
        fetched_below(stack, file)
        index.reset_log()
        before = fingerprint(stack.lower.store.root)

        plan = plan_fetch([file], pull.ledger)
        pull.fetch(plan)
        pull.know([file])
        with pull.answer(Request(method="GET", url=file.url, headers={})) as reply:
            assert isinstance(reply, FileAnswer)
            assert reply.path == stack.lower.store.place(file.digest)

        assert (plan.missing, plan.held) == ((), (file,))
        assert index.requests == []
        assert stack.upper.held() == set()
        assert fingerprint(stack.lower.store.root) == before


def test_what_no_store_holds_comes_into_the_upper_one(
    stack: Stack, pull: Pull, tmp_path: Path
) -> None:
    before = fingerprint(stack.lower.store.root)
    with IndexSimulator() as index:
        file = published(index, tmp_path)
        pull.fetch(plan_fetch([file], pull.ledger))

    assert stack.upper.held() == {file.digest}
    assert fingerprint(stack.lower.store.root) == before


def test_a_copied_store_is_hashed_once_and_then_known(stack: Stack, tmp_path: Path) -> None:
    # As in an image: other inodes than those that its records have.
    digest = stack.lower.blob("a.whl")
    copy = tmp_path / "copy"
    shutil.copytree(stack.lower.store.root, copy)
    store = Store(stack.upper.store.root, [copy])

    assert digest in Ledger(store)
    record = Records(stack.upper.store.root).read(digest)
    assert record is not None

    # Had it been hashed again, it would have been found wrong.
    path = copy / "blobs" / "sha256" / digest.hex[:2] / digest.hex
    before = path.stat()
    damage(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest in Ledger(store)


@pytest.mark.parametrize("truncated", [True, False])
def test_a_damaged_file_below_is_fetched_into_the_upper_store_and_said(
    stack: Stack, pull: Pull, tmp_path: Path, *, truncated: bool
) -> None:
    with IndexSimulator() as index:
        file = published(index, tmp_path)
        fetched_below(stack, file)
        path = stack.lower.store.blob(file.digest)
        if truncated:
            path.chmod(0o644)
            os.truncate(path, 100)
        else:
            damage(path)
        before = fingerprint(stack.lower.store.root)
        index.reset_log()

        pull.fetch(plan_fetch([file], pull.ledger))

        assert index.gets(WHEEL) == 1
        assert pull.store.blob(file.digest) == stack.upper.store.place(file.digest)
        assert stack.notes.told == [f"`{path}` is damaged, and is not used"]
        assert fingerprint(stack.lower.store.root) == before
        # The next run looks at the good one alone.
        index.reset_log()
        assert file.digest in Ledger(stack.store)
        assert stack.store.verify(file.digest)


def test_a_file_below_that_a_client_could_not_use_is_fetched_by_the_next_run(
    stack: Stack, pull: Pull, tmp_path: Path
) -> None:
    with IndexSimulator() as index:
        file = published(index, tmp_path)
        fetched_below(stack, file)
        path = stack.lower.store.blob(file.digest)
        before = path.stat()
        damage(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.digest in Ledger(stack.store)
        with pytest.raises(IntegrityError):
            pull.blame_blobs([file])

        client = Http({"NETRC": "none"}, connections=4)
        again = Pull(stack.store, client, (), Quiet(), offline=False)
        again.fetch(plan_fetch([file], again.ledger))
        client.close()

    assert stack.upper.held() == {file.digest}
    assert stack.store.verify(file.digest)


def test_the_next_of_several_stores_does_where_the_first_is_damaged(
    stack: Stack, tmp_path: Path
) -> None:
    digest = stack.lower.blob("a.whl")
    shutil.copytree(stack.lower.store.root, tmp_path / "next")
    damage(stack.lower.store.blob(digest))
    store = Store(stack.upper.store.root, [stack.lower.store.root, tmp_path / "next"])

    assert digest in Ledger(store)

    ledger = Ledger(store)
    assert digest in ledger
    assert store.blob(digest).is_relative_to(tmp_path / "next")


def test_a_name_that_a_lower_store_has_seen_with_other_bytes_is_refused(
    stack: Stack, pull: Pull, tmp_path: Path
) -> None:
    with IndexSimulator() as index:
        file = published(index, tmp_path)
        fetched_below(stack, file)
        index.reset_log()
        other = replace(file, digest=Digest.parse("ab" * 32))

        with pytest.raises(IntegrityError) as caught:
            pull.fetch(plan_fetch([other], pull.ledger))

        assert caught.value.code == "file-changed"
        assert file.digest.hex in caught.value.causes[0]
        assert index.requests == []
        before = fingerprint(stack.lower.store.root)
        url = file.url
        offline = replace(stack.options, offline=True)
        seen = store_policy(stack.world, offline, url).held.first_seen
        assert seen is not None
        assert seen.digest == file.digest

        assert len(store_forget(stack.world, stack.options, [WHEEL]).forgotten) == 1

        ledger = Ledger(stack.store)
        ledger.check([other])
        ledger.check([file])
        assert store_policy(stack.world, offline, url).held.first_seen is None
        with pytest.raises(GpuenvError, match="was ever seen"):
            store_forget(stack.world, stack.options, [WHEEL])
        assert fingerprint(stack.lower.store.root) == before


def test_a_name_seen_below_is_not_noted_again(stack: Stack) -> None:
    stack.lower.blob("a.whl")
    ((_, below),) = FirstSeenNames(stack.lower.store.root).every()
    assert below is not None

    names = FirstSeenNames(stack.upper.store.root, [stack.lower.store.root])

    assert names.keep(replace(below, seen=1.0)) == below
    assert list(FirstSeenNames(stack.upper.store.root).every()) == []


def test_pages_of_a_lower_store_do_where_the_index_is_not_to_be_had(stack: Stack) -> None:
    url = "http://127.0.0.1:9/simple/demo/"
    page = StoredPage(
        url=url, headers={"content-type": "text/html"}, stored=1.0, body=b"<a href=x>"
    )
    stack.lower.store.keep_page(f"{url}\n*/*", page)
    client = Http({"NETRC": "none"}, connections=1)
    request = Request(method="GET", url=url, headers={"accept": "*/*"})
    offline = Pull(stack.store, client, (), Quiet(), offline=True)

    with offline.answer(request) as reply:
        assert getattr(reply, "body", None) == page.body
    client.close()


def test_the_later_of_two_pages_counts(stack: Stack) -> None:
    def page(stored: float) -> StoredPage:
        return StoredPage(url="https://i.test/x/", headers={}, stored=stored, body=b"x")

    stack.lower.store.keep_page("key", page(2.0))
    assert stack.store.page("key") == page(2.0)
    stack.upper.store.keep_page("key", page(1.0))
    assert stack.store.page("key") == page(2.0)
    stack.upper.store.keep_page("key", page(3.0))
    assert stack.store.page("key") == page(3.0)


def test_gc_leaves_a_lower_store_and_what_hangs_on_it(stack: Stack) -> None:
    below = stack.lower.blob("a.whl")
    own = stack.upper.blob("b.whl")
    project = stack.upper.project("app", last=[below])
    # An answer of the upper store that stands for a blob of the lower one.
    url = "https://i.test/a.whl"
    stack.upper.store.keep_page(url, StoredPage(url=url, headers={}, stored=1.0, digest=below))
    head = next((stack.upper.store.root / "pages").glob("*.json"))
    os.utime(head, (1.0, 1.0))
    before = fingerprint(stack.lower.store.root)

    done = store_gc(stack.world, stack.options, NO_LIMITS, dry_run=False)

    assert [item.label for item in done.removals] == ["b.whl"]
    assert stack.upper.held() == set()
    assert own not in stack.store
    assert head.exists()
    assert fingerprint(stack.lower.store.root) == before
    assert project.exists()


def test_list_and_info_say_where_a_file_lies(stack: Stack) -> None:
    below, own = stack.lower.blob("a.whl"), stack.upper.blob("b.whl")
    stack.upper.project("app", last=[below, own])

    files = {file.names[0]: file for file in store_list(stack.world, stack.options).files}
    info = store_info(stack.world, stack.options)

    root = str(stack.lower.store.root)
    assert {name: file.below for name, file in files.items()} == {"a.whl": root, "b.whl": None}
    assert files["a.whl"].urls == ("https://index.test/files/a.whl",)
    assert len(files["a.whl"].projects) == 1
    (lower,) = info.lower
    size = len(content_of("a.whl"))
    assert (lower.store, lower.blobs.bytes, lower.needed.bytes) == (root, size, size)
    assert info.parts["blobs"].bytes == len(content_of("b.whl"))
    (project,) = info.projects
    assert (project.blobs.files, project.below.files) == (1, 1)


def test_a_file_that_both_have_is_listed_once_as_the_stores_own(stack: Stack) -> None:
    stack.lower.blob("a.whl")
    stack.upper.blob("a.whl")

    (file,) = store_list(stack.world, stack.options).files

    assert file.below is None
    assert store_verify(stack.world, stack.options, quick=False, repair=False).checked == 1


def test_verify_names_the_lower_store_and_repair_fetches_into_the_upper_one(
    stack: Stack, tmp_path: Path
) -> None:
    with IndexSimulator() as index:
        file = published(index, tmp_path)
        fetched_below(stack, file)
        damage(stack.lower.store.blob(file.digest))
        before = fingerprint(stack.lower.store.root)
        root = str(stack.lower.store.root)

        for quick in (True, False):
            found = store_verify(stack.world, stack.options, quick=quick, repair=False)
            (item,) = found.damage
            assert (item.fault, item.below) == ("wrong-hash", root)
            assert f"`{WHEEL}` in the lower store `{root}` no longer has its hash" in item.message

        mended = store_verify(stack.world, stack.options, quick=False, repair=True)
        assert mended.failure() is None
        assert stack.upper.held() == {file.digest}
        again = store_verify(stack.world, stack.options, quick=False, repair=False)
        assert (again.failure(), again.checked) == (None, 1)
        assert fingerprint(stack.lower.store.root) == before


def test_a_lower_file_that_is_writable_is_its_owners_business(stack: Stack) -> None:
    digest = stack.lower.blob("a.whl")
    stack.lower.store.blob(digest).chmod(0o644)

    first, second = (
        store_verify(stack.world, stack.options, quick=True, repair=False) for _ in range(2)
    )

    assert first.failure() is None
    assert (first.hashed, second.hashed) == (1, 0)


def test_a_needed_file_that_only_a_lower_store_has_is_not_missing(stack: Stack) -> None:
    below = stack.lower.blob("a.whl")
    stack.upper.project("app", last=[below])
    Pins(stack.upper.store.root).add(Pin(kind="file", label="a.whl", digests=frozenset({below})))
    assert store_verify(stack.world, stack.options, quick=False, repair=False).damage == ()

    alone = store_verify(stack.upper.world, stack.upper.options, quick=False, repair=False)
    assert alone.damage == ()
    ((digest, used),) = ((item.digest, item.below) for item in alone.absent)
    assert (digest, used) == (below, False)

    stack.upper.environment("env", stack.upper.root / "projects" / "app", [below])
    alone = store_verify(stack.upper.world, stack.upper.options, quick=False, repair=False)
    assert alone.failure() is None
    assert [item.below for item in alone.absent] == [True]
    assert "was used from a lower store" in alone.absent[0].message


def test_looking_does_not_make_an_upper_store(stack: Stack, tmp_path: Path) -> None:
    stack.lower.blob("a.whl")
    options = Options(store=tmp_path / "nothing")

    assert len(store_list(stack.world, options).files) == 1
    assert store_verify(stack.world, options, quick=False, repair=False).checked == 1
    assert not (tmp_path / "nothing").exists()


def test_offline_lists_only_what_no_store_has(stack: Stack) -> None:
    below = stack.lower.blob("a.whl")
    held = stack.lower.locked("a.whl", below)
    lacking = stack.lower.locked("b.whl", digest_of("b.whl"))
    client = Http({"NETRC": "none"}, connections=1)
    pull = Pull(stack.store, client, (), Quiet(), offline=True)

    with pytest.raises(NetworkError) as caught:
        pull.fetch(plan_fetch([held, lacking], pull.ledger))

    client.close()
    (cause,) = caught.value.causes
    assert cause.startswith("`b.whl`")


def test_lower_stores_that_cannot_be_used_are_told_and_done_without(tmp_path: Path) -> None:
    good, other, missing = (tmp_path / name for name in ("good", "other", "missing"))
    Store(good).open()
    Store(other).open()
    (other / "VERSION").write_text("99\n", encoding="utf-8")
    root = tmp_path / "upper"
    named = os.pathsep.join(map(str, ("", missing, other, root, good, good)))

    lower, faults = lower_roots({"GPUENV_STORE_LOWER": named}, root)

    assert lower == (good,)
    assert faults == (
        f"the lower store `{missing}` is not used: there is no store",
        f"the lower store `{other}` is not used: this gpuenv knows format `1`, it has `99`",
    )
    notes = Notes()
    world = replace(
        FilledStore(tmp_path).world, variables={"GPUENV_STORE_LOWER": named}, progress=notes
    )
    assert store_of(world, Options(store=root)).lower == (good,)
    assert store_of(replace(world, folder=tmp_path), Options(store=root)).lower == (good,)
    assert notes.told == list(faults)
