"""What stubs stand for, read from real files and asked of an index on a real socket."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.http import Http
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.core.host import Platform
from provisioner.core.interpreter import Interpreter
from provisioner.core.plan import FetchPlan, LockedFile, LockedSet
from provisioner.core.tags import wheel_tags
from provisioner.errors import IntegrityError, LockError, NetworkError
from provisioner.workflow.pull import Pull
from provisioner.workflow.stubs import StubReader, note_wheels, told
from provisioner.workflow.world import World
from tests.cli.machine import NOTHING, Given
from tests.cli.projects import downloads
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_sdist, make_stub, make_wheel
from tests.workflow.stores import Notes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAGS = wheel_tags(
    Interpreter(version="3.11.7"),
    Platform(system="linux", machine="x86_64", kind="linux", libc=("glibc", "2.35")),
)
STUB = "libs-1.0.tar.gz"
WHEEL = "libs-1.0-py3-none-any.whl"
BETTER = "libs-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
ELSEWHERE = "libs-1.0-py3-none-win_amd64.whl"


@dataclass(kw_only=True)
class Bench:
    """A store, and an index with a stub that names the index itself."""

    folder: Path
    store: Store
    index: IndexSimulator
    http: Http
    notes: Notes

    def publish(self, *tags: str, yanked: str | None = None) -> None:
        """Publish wheels of the release."""
        for tag in tags:
            wheel = make_wheel(self.folder, "libs", "1.0", tag=tag)
            self.index.publish(wheel, yanked=yanked)

    def stub(
        self, *, sized: bool = True, backend: str = "wheel_stub", flat: bool = False
    ) -> LockedFile:
        """The stub, published, as a lock names it."""
        made = make_stub(
            self.folder, "libs", "1.0", self.index.index_url, backend=backend, flat=flat
        )
        return self.locked(made, sized=sized)

    def locked(self, made: Path, *, sized: bool = True) -> LockedFile:
        """A file, published, as a lock names it."""
        published = self.index.publish(made, "stubs")
        return LockedFile(
            name=made.name,
            url=self.index.file_url(made.name),
            digest=Digest(published.sha256),
            size=published.size if sized else None,
        )

    def pull(self, *, offline: bool = False) -> Pull:
        """The way into the store."""
        return Pull(self.store, self.http, (), self.notes, offline=offline)

    def reader(
        self, pull: Pull | None = None, *, keeps: bool = True, given: Given = NOTHING
    ) -> StubReader:
        """What reads stubs, with some variables of the user."""
        world = World(
            variables=given,
            home=self.folder,
            folder=self.folder,
            now=lambda: 0.0,
            progress=self.notes,
        )
        return StubReader(world, pull or self.pull(), keeps=keeps)

    def wheel_for(self, file: LockedFile, reader: StubReader | None = None) -> LockedFile | None:
        """The wheel that a file stands for, if it is a stub."""
        contents = LockedSet(files=(file,), known=(file,))
        (found,) = (reader or self.reader()).with_wheels([contents], TAGS)
        if not found.substitutions:
            assert found == contents
            return None
        (one,) = found.substitutions
        assert found.files == found.known == (file, one.wheel)
        assert one.stub == file
        return one.wheel


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    store = Store(tmp_path / "store")
    store.open()
    with IndexSimulator() as index:
        http = Http({}, connections=4, tries=1)
        made = tmp_path / "made"
        yield Bench(folder=made, store=store, index=index, http=http, notes=Notes())
        http.close()


@pytest.mark.parametrize("sized", [True, False])
def test_a_stub_stands_for_the_best_wheel_of_its_release(bench: Bench, *, sized: bool) -> None:
    bench.publish("py3-none-any", "cp311-cp311-manylinux_2_28_x86_64", "py3-none-win_amd64")
    stub = bench.stub(sized=sized)

    wheel = bench.wheel_for(stub)

    assert wheel
    assert (wheel.name, wheel.url) == (BETTER, bench.index.file_url(BETTER))
    assert (wheel.size, wheel.likely_size) == (None, (bench.folder / BETTER).stat().st_size)
    assert wheel.index == bench.index.url
    assert downloads(bench.index) == {STUB: 1}
    assert stub.digest in bench.store


def test_an_old_stub_without_a_folder_is_read_too(bench: Bench) -> None:
    bench.publish("py3-none-any")
    stub = bench.stub(backend="nvidia_stub", flat=True)
    wheel = bench.wheel_for(stub, bench.reader(given={"NVIDIA_PIP_INDEX_URL": bench.index.url}))
    assert wheel
    assert wheel.name == WHEEL


def test_what_was_found_once_is_not_asked_for_again(bench: Bench) -> None:
    bench.publish("py3-none-any")
    stub, pull = bench.stub(), bench.pull()
    wheel = bench.wheel_for(stub, bench.reader(pull))
    assert wheel
    pull.fetch(FetchPlan(missing=(wheel,), held=()))
    bench.index.reset_log()
    # A wheel that comes later and fits better changes nothing.
    bench.publish("cp311-cp311-manylinux_2_28_x86_64")

    for keeps in (True, False):
        for offline in (True, False):
            again = bench.reader(bench.pull(offline=offline), keeps=keeps)
            assert bench.wheel_for(stub, again) == wheel

    assert bench.index.requests == []


def test_a_yanked_wheel_is_taken_only_where_no_other_is_there(bench: Bench) -> None:
    with IndexSimulator("pypi") as index:
        bench.index = index
        bench.publish("cp311-cp311-manylinux_2_28_x86_64", yanked="broken")
        bench.publish("py3-none-any")
        stub = bench.stub()
        wheel = bench.wheel_for(stub)
        assert wheel
        assert wheel.name == WHEEL


def test_a_wheel_without_a_hash_is_fetched_and_its_first_bytes_count(bench: Bench) -> None:
    bench.publish("py3-none-any")
    bench.index.omit_hash(WHEEL)
    stub = bench.stub()

    assert bench.wheel_for(stub, bench.reader(keeps=False)) is None
    wheel = bench.wheel_for(stub)
    again = bench.wheel_for(stub)

    assert wheel
    assert again == wheel
    assert wheel.digest in bench.store
    assert downloads(bench.index) == {STUB: 2, WHEEL: 1}  # The first of them was only a look.
    index = f"{bench.index.url}/"
    assert f"{index} tells no SHA-256 of `{WHEEL}`; what comes first counts" in bench.notes.told


def test_a_release_that_the_index_does_not_have_is_told(bench: Bench) -> None:
    stub = bench.stub()
    with pytest.raises(LockError) as caught:
        bench.wheel_for(stub)
    assert caught.value.causes == (f"`{bench.index.url}/libs/` lists no wheel",)
    bench.publish("py3-none-win_amd64")
    with pytest.raises(LockError) as caught:
        bench.wheel_for(stub)
    assert caught.value.causes[0] == "the index has it for `py3-none-win_amd64`"
    # A page that was kept without what is looked for does not do for good.
    bench.publish("py3-none-any")
    assert bench.wheel_for(stub)


def test_an_index_that_fails_is_3_and_a_look_goes_on_without_it(bench: Bench) -> None:
    bench.publish("py3-none-any")
    stub = bench.stub()
    given = {"WHEEL_STUB_PIP_INDEX_URL": "http://127.0.0.1:9"}
    with pytest.raises(NetworkError) as caught:
        bench.wheel_for(stub, bench.reader(given=given))
    assert "`http://127.0.0.1:9/libs/`" in caught.value.message
    assert bench.wheel_for(stub, bench.reader(keeps=False, given=given)) is None
    assert bench.notes.told[-1].startswith("what `libs` 1.0 stands for is not known: ")


def test_a_look_keeps_nothing(bench: Bench) -> None:
    bench.publish("py3-none-any")
    sized = bench.stub()
    bench.store = Store(bench.folder / "none")
    assert bench.wheel_for(sized, bench.reader(keeps=False))
    assert not bench.store.root.exists()


def test_a_look_does_not_believe_a_stub_with_another_hash(bench: Bench) -> None:
    bench.publish("py3-none-any")
    stub = bench.stub()
    bench.index.corrupt(STUB)
    assert bench.wheel_for(stub, bench.reader(keeps=False)) is None
    with pytest.raises(IntegrityError):
        bench.wheel_for(stub)


def test_offline_a_stub_that_is_not_held_is_left_to_be_missed(bench: Bench) -> None:
    bench.publish("py3-none-any")
    stub = bench.stub()
    assert bench.wheel_for(stub, bench.reader(bench.pull(offline=True))) is None
    assert bench.index.requests == []


def test_a_large_source_distribution_is_not_even_fetched(bench: Bench) -> None:
    made = make_sdist(bench.folder, "large", "1.0")
    large = bench.locked(made)
    file = LockedFile(name=large.name, url=large.url, digest=large.digest, size=65_537)
    assert bench.wheel_for(file) is None
    assert bench.index.requests == []


def test_an_ordinary_source_distribution_stays_one(bench: Bench) -> None:
    ordinary = bench.locked(make_sdist(bench.folder, "small", "1.0"))
    assert bench.wheel_for(ordinary) is None
    assert downloads(bench.index) == {ordinary.name: 1}


def test_a_lock_for_all_targets_gets_every_wheel_and_no_size_that_no_page_tells(
    bench: Bench,
) -> None:
    bench.publish("py3-none-any", "py3-none-win_amd64")
    found = bench.reader().every_wheel(bench.stub())
    assert [(one.name, one.size) for one in found] == [(WHEEL, None), (ELSEWHERE, None)]


@pytest.mark.parametrize("length", [0, 17])
def test_a_length_that_is_wrong_keeps_no_wheel_from_coming(bench: Bench, length: int) -> None:
    bench.publish("py3-none-any")
    bench.index.tell_length_of_head(WHEEL, length)
    pull = bench.pull()
    wheel = bench.wheel_for(bench.stub(), bench.reader(pull))
    assert wheel
    assert wheel.likely_size == (length or None)
    pull.fetch(FetchPlan(missing=(wheel,), held=()))
    assert wheel.digest in bench.store


def test_the_length_of_an_encoded_answer_is_no_files(bench: Bench) -> None:
    bench.publish("py3-none-any")
    bench.index.encode(WHEEL)
    wheel = bench.wheel_for(bench.stub())
    assert wheel
    assert wheel.likely_size is None


def test_the_wheel_is_noted_as_needed_once_the_rest_is_known(bench: Bench) -> None:
    bench.publish("py3-none-any")
    stub, pull = bench.stub(), bench.pull()
    contents = LockedSet(files=(stub,))
    (found,) = bench.reader(pull).with_wheels([contents], TAGS)
    note_wheels(pull, found.substitutions)
    assert not pull.ledger.knows_build(stub.digest)
    pull.ledger.built_with([stub.digest], [])
    note_wheels(pull, found.substitutions)
    record = next(bench.store.root.glob(f"records/*/{stub.digest}.json")).read_text("utf-8")
    assert found.substitutions[0].wheel.digest.hex in record


def test_what_two_profiles_need_is_told_once(bench: Bench) -> None:
    bench.publish("py3-none-any")
    contents = LockedSet(files=(bench.stub(),))
    found = bench.reader().with_wheels([contents, contents], TAGS)
    (one,) = told(item for each in found for item in each.substitutions)
    assert (one["name"], one["version"], one["wheel"]) == ("libs", "1.0", WHEEL)


def test_a_large_source_distribution_of_unknown_size_is_left_to_the_plan(bench: Bench) -> None:
    large = make_sdist(bench.folder, "large", "1.0", files={"large/data": os.urandom(100_000)})
    file = bench.locked(large, sized=False)
    assert bench.wheel_for(file) is None
    assert file.digest not in bench.store
    assert {request.method for request in bench.index.requests} == {"HEAD"}
