"""Collection removes what nobody uses, all of it, and nothing else; whenever it is ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.adapters._files import locked
from provisioner.adapters._whereabouts import Site
from provisioner.adapters.environment import note_use
from provisioner.adapters.leases import Leases
from provisioner.adapters.roots import Pin, Pins, Roots
from provisioner.adapters.store import StoredPage
from provisioner.core.reach import Limits
from provisioner.errors import GpuenvError, IntegrityError, LockHeldError
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.store_pin import store_pin
from tests.workflow.stores import LONG_AGO, FilledStore, digest_of

ROOT = Path(__file__).parents[2]

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.workflow.stores import FilledStore

left = int(sys.argv[2])

def hook(event, arguments):
    global left
    if event in {"os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

filled = FilledStore(Path(sys.argv[1]))
sys.addaudithook(hook)
filled.gc()
"""


@pytest.fixture
def filled(tmp_path: Path) -> FilledStore:
    """A store without anything."""
    return FilledStore(tmp_path)


def test_what_the_environments_of_a_project_were_made_from_stays(filled: FilledStore) -> None:
    used, last, planned, spare = (filled.blob(name) for name in ("a", "b", "c", "d"))
    folder = filled.root / "projects" / "app"
    environment = filled.environment("app-1", folder, [used])
    filled.project("app", [environment], last=[last], planned=[planned])
    filled.environment("app-0", folder)

    result = filled.gc()

    assert filled.held() == {used, last, planned}
    assert filled.environments() == {"app-1"}
    assert [item.label for item in result.removals] == ["d", "app-0"]
    assert spare not in filled.held()
    assert not (filled.store.root / "envs" / "app-0.json").exists()
    assert list((filled.store.root / "trash").iterdir()) == []
    assert filled.gc().removals == ()


def test_every_generation_counts_not_only_the_active_one(filled: FilledStore) -> None:
    blobs = [filled.blob(str(number)) for number in range(3)]
    folder = filled.root / "projects" / "app"
    paths = [
        filled.environment(f"app-{number}", folder, [blob]) for number, blob in enumerate(blobs)
    ]
    filled.project("app", paths)

    assert filled.gc().removals == ()
    assert filled.held() == set(blobs)


def test_a_project_that_is_gone_needs_nothing(filled: FilledStore) -> None:
    shared, own = filled.blob("shared"), filled.blob("own")
    for name, blobs in (("one", [shared]), ("two", [shared, own])):
        folder = filled.root / "projects" / name
        filled.project(name, [filled.environment(name, folder, blobs)], planned=blobs)
    shutil.rmtree(filled.root / "projects" / "two")

    filled.gc()

    assert filled.held() == {shared}
    assert filled.environments() == {"one"}
    assert len(list((filled.store.root / "roots").iterdir())) == 1


def test_an_environment_tells_its_project_where_no_root_does(filled: FilledStore) -> None:
    blob = filled.blob("a")
    folder = filled.root / "projects" / "app"
    filled.project("app", [filled.environment("app-1", folder, [blob])])
    shutil.rmtree(filled.store.root / "roots")

    filled.gc()

    assert (filled.held(), filled.environments()) == ({blob}, {"app-1"})


def test_what_built_a_source_distribution_stays_with_it(filled: FilledStore) -> None:
    source, tool, dependency = (filled.blob(name) for name in ("s.tar.gz", "tool", "dependency"))
    ledger = Ledger(filled.store)
    ledger.built_with([source], [tool])
    ledger.built_with([tool], [dependency])
    filled.project("app", last=[source])
    for digest in (source, tool):
        filled.used(digest, LONG_AGO)

    filled.gc()
    assert filled.held() == {source, tool, dependency}
    filled.project("app", last=[])
    filled.gc()
    assert filled.held() == set()


def test_a_first_prepare_that_broke_off_keeps_what_had_arrived(filled: FilledStore) -> None:
    arrived, spare = filled.blob("arrived"), filled.blob("spare")
    part = filled.store.root / "partial" / f"{'ab' * 32}.part"
    other = filled.store.root / "partial" / f"{'cd' * 32}.part"
    for path in (part, other):
        path.write_bytes(b"half")
        path.with_suffix(".lock").touch()
    folder = filled.project("app")
    (folder / ".gpuenv" / "state.json").unlink()
    planned = [filled.locked("x", arrived), filled.locked("y", type(arrived)("ab" * 32))]
    Roots(filled.store.root).register(folder, str(folder), planned, 1.0)

    filled.gc()

    assert filled.held() == {arrived}
    assert spare not in filled.held()
    assert [path.name for path in (filled.store.root / "partial").iterdir()] == [part.name]


def test_what_is_pinned_stays_though_nobody_needs_it(filled: FilledStore) -> None:
    kept, spare = filled.blob("kept"), filled.blob("spare")
    pin = Pin(kind="file", label="kept", digests=frozenset({kept}))
    Pins(filled.store.root).add(pin)

    filled.gc()
    assert filled.held() == {kept}
    assert spare not in filled.held()
    Pins(filled.store.root).remove(pin)
    filled.gc()
    assert filled.held() == set()


def test_a_project_whose_state_cannot_be_read_keeps_all_that_names_it(filled: FilledStore) -> None:
    blob = filled.blob("a")
    folder = filled.root / "projects" / "app"
    filled.project("app", [filled.environment("app-1", folder, [blob])])
    filled.environment("app-2", folder)
    (folder / ".gpuenv" / "state.json").write_text("{", encoding="utf-8")

    result = filled.gc()

    assert (filled.held(), filled.environments()) == ({blob}, {"app-1", "app-2"})
    assert f"the state of `{folder}` cannot be read: what names it stays" in result.notes


def test_a_project_of_another_host_counts_until_it_is_too_old(filled: FilledStore) -> None:
    blob = filled.blob("a")
    folder = filled.root / "projects" / "app"
    filled.project("app", [filled.environment("app-1", folder, [blob])], planned=[blob])
    (path,) = (filled.store.root / "roots").iterdir()
    data = json.loads(path.read_text(encoding="utf-8")) | {"host": "another-host"}
    path.write_text(json.dumps(data), encoding="utf-8")
    shutil.rmtree(folder)

    result = filled.gc()
    assert (filled.held(), filled.environments()) == ({blob}, {"app-1"})
    assert f"project `{folder}` is elsewhere: what it needs stays" in result.notes
    filled.gc(Limits(max_age=3600.0))
    assert (filled.held(), filled.environments()) == (set(), set())


def test_a_project_of_another_host_that_uses_its_environment_is_not_too_old(
    filled: FilledStore,
) -> None:
    blob = filled.blob("a")
    folder = filled.root / "projects" / "app"
    environment = filled.environment("app-1", folder, [blob])
    filled.project("app", [environment], planned=[blob])
    (path,) = (filled.store.root / "roots").iterdir()
    data = json.loads(path.read_text(encoding="utf-8")) | {"host": "another-host"}
    path.write_text(json.dumps(data), encoding="utf-8")
    shutil.rmtree(folder)
    note_use(environment)

    filled.gc(Limits(max_age=3600.0))

    assert (filled.held(), filled.environments()) == ({blob}, {"app-1"})


def test_without_its_root_too_a_project_of_another_host_counts(filled: FilledStore) -> None:
    blob = filled.blob("a")
    folder = filled.root / "projects" / "app"
    site = Site(host="another-host")
    filled.project("app", [filled.environment("app-1", folder, [blob], site=site)])
    shutil.rmtree(filled.store.root / "roots")
    shutil.rmtree(folder)

    result = filled.gc()

    assert (filled.held(), filled.environments()) == ({blob}, {"app-1"})
    assert result.notes == (f"project `{folder}` is elsewhere: what it needs stays",)


@pytest.mark.parametrize("folder", ["roots", "pins"])
def test_nothing_goes_while_it_is_not_known_who_needs_what(
    filled: FilledStore, folder: str
) -> None:
    blob = filled.blob("a")
    (filled.store.root / folder).mkdir(exist_ok=True)
    (filled.store.root / folder / "0123.json").write_text("{", encoding="utf-8")

    with pytest.raises(IntegrityError) as caught:
        filled.gc()

    assert (caught.value.exit_code, caught.value.code) == (4, "store-damaged")
    assert "0123.json" in caught.value.causes[0]
    assert filled.held() == {blob}


def test_a_dry_run_tells_what_would_go_and_removes_nothing(filled: FilledStore) -> None:
    filled.blob("spare")
    filled.environment("killed", None)
    before = filled.files()

    told = filled.gc(dry_run=True)

    assert filled.files() == before
    done = filled.gc()
    assert told.dry_run
    assert [(item.kind, item.label) for item in told.removals] == [
        (item.kind, item.label) for item in done.removals
    ]
    assert (told.freed, told.of("blobs")) == (done.freed, done.of("blobs"))


def test_limits_keep_what_was_used_last(filled: FilledStore) -> None:
    now = filled.now
    old, older, oldest = (
        filled.blob(name, used=now - age) for name, age in (("1", 100), ("2", 200), ("3", 300))
    )
    needed = filled.blob("needed", used=now - 1000)
    filled.project("app", last=[needed])
    size = filled.store.size(old)

    assert filled.gc(Limits(max_age=250.0)).of("blobs") == (1, size)
    assert filled.held() == {old, older, needed}
    total = sum(path.stat().st_size for path in filled.store.root.rglob("*") if path.is_file())
    assert filled.gc(Limits(max_size=total)).removals == ()
    assert filled.gc(Limits(max_size=total - 1)).of("blobs") == (1, size)
    assert filled.held() == {old, needed}
    result = filled.gc(Limits(max_size=1))
    assert filled.held() == {needed}
    assert result.notes == ("what is needed takes more than `--max-size`",)
    assert oldest not in filled.held()


def test_a_limit_of_size_counts_nothing_that_goes_anyway(filled: FilledStore) -> None:
    spare = filled.blob("spare", used=filled.now - 100)
    filled.environment("dead", None, bytes_=1_000_000)
    trash = filled.store.root / "trash"
    trash.mkdir()
    (trash / "left").write_bytes(b"x" * 1_000_000)
    limits = Limits(max_size=500_000)

    told = filled.gc(limits, dry_run=True)
    done = filled.gc(limits)

    assert (told.of("environments"), told.of("blobs")) == ((1, 1_000_000), (0, 0))
    assert (done.of("environments"), done.of("blobs")) == ((1, 1_000_000), (0, 0))
    assert filled.held() == {spare}
    assert told.kept < 500_000
    assert done.kept < 500_000


def test_what_shares_bytes_with_what_stays_frees_nothing(filled: FilledStore) -> None:
    spare = filled.blob("spare", used=filled.now - 100)
    folder = filled.root / "projects" / "app"
    kept = filled.environment("app-1", folder, bytes_=100_000)
    filled.project("app", [kept])
    dead = filled.environment("dead", None, bytes_=0)
    (dead / "lib" / "shared.so").hardlink_to(kept / "lib" / "module.py")
    os.utime(dead, (LONG_AGO, LONG_AGO))

    filled.gc(Limits(max_size=100_100))

    assert filled.environments() == {"app-1"}
    assert spare not in filled.held()


def test_a_dry_run_tells_what_would_stay_where_environments_share_files(
    filled: FilledStore,
) -> None:
    folder = filled.root / "projects" / "app"
    kept = filled.environment("app-1", folder, bytes_=100_000)
    filled.project("app", [kept])
    dead = filled.environment("dead", None, bytes_=50_000)
    (dead / "lib" / "shared.so").hardlink_to(kept / "lib" / "module.py")
    (filled.root / "cached").hardlink_to(dead / "lib" / "module.py")
    os.utime(dead, (LONG_AGO, LONG_AGO))

    told = filled.gc(dry_run=True)
    done = filled.gc()

    assert filled.environments() == {"app-1"}
    locks = done.kept - told.kept  # A collection that does its work makes some small files.
    assert done.kept > 100_000
    assert 0 <= locks < 1000


def test_a_limit_of_age_keeps_whatever_is_young(filled: FilledStore) -> None:
    part = filled.store.root / "partial" / f"{'ab' * 32}.0011"
    part.mkdir()
    young = filled.environment("young", None)
    os.utime(young, (filled.now - 60, filled.now - 60))
    used = filled.environment("used", filled.root / "projects" / "gone")
    note_use(used)
    filled.environment("old", None)
    staged = filled.store.root / "pages" / ".x.0011.0123456789abcdef"
    staged.touch()

    filled.gc(Limits(max_age=3600.0))

    assert filled.environments() == {"young", "used"}
    assert part.exists()
    assert staged.exists()
    filled.gc()
    assert (filled.environments(), part.exists(), staged.exists()) == (set(), False, False)


def test_a_part_of_what_is_held_goes_though_it_is_needed(filled: FilledStore) -> None:
    digest = filled.blob("x")
    filled.project("app", last=[digest])
    part = filled.store.root / "partial" / f"{digest.hex}.0123"
    part.mkdir()
    (part / "part").write_bytes(b"half")
    os.utime(part, (LONG_AGO, LONG_AGO))

    filled.gc()

    assert not part.exists()
    assert filled.held() == {digest}


@pytest.mark.parametrize("body", ["", "a/b", 7, None, [], "../../roots/x"])
def test_a_page_whose_head_is_damaged_goes_and_nothing_else(
    filled: FilledStore, body: object
) -> None:
    filled.project("app")
    head = filled.store.root / "pages" / f"{'ab' * 32}.json"
    head.write_text(json.dumps({"url": "https://x.test/", "body": body}), encoding="utf-8")
    os.utime(head, (LONG_AGO, LONG_AGO))

    assert [(item.kind, item.label) for item in filled.gc().removals] == [("pages", head.name)]


def test_what_is_told_to_be_pinned_is_there(filled: FilledStore) -> None:
    digest = filled.blob("x.whl")
    told: list[object] = []

    def pin() -> None:
        try:
            told.extend(store_pin(filled.world, filled.options, ("x.whl",), remove=False).changed)
        except GpuenvError as error:
            told.append(error.code)

    thread = threading.Thread(target=pin)
    # A collection that has decided to remove it.
    with Leases(filled.store.root).removing():
        thread.start()
        thread.join(0.3)
        filled.store.place(digest).unlink()
    thread.join(30)

    assert told == ["unknown"]
    assert list(Pins(filled.store.root).every()) == []


def test_leftovers_of_killed_runs_go(filled: FilledStore) -> None:
    root = filled.store.root
    filled.environment("killed", None)
    leftovers = [
        "partial/odd.part",
        f"partial/{'ab' * 32}.part",
        f"partial/{'ab' * 32}.validator",
        f"partial/{'ab' * 32}.lock",
        "pages/.x.0011.0123456789abcdef",
        ".VERSION.0123456789ab",
        f"envs/.{'x' * 5}.json.0123456789ab",
        "envs/lost.json",
        f"pages/{'ab' * 32}.0011",
        f"records/ab/{'ab' * 32}.json",
        "leases/0011.lock",
        "trash/0011-whatever",
    ]
    for name in leftovers:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text("", encoding="utf-8")

    filled.gc()

    assert filled.files() == {"VERSION", "lock", "gc.lock"}


def test_pages_stay_as_long_as_a_project_may_build_with_them(filled: FilledStore) -> None:
    blob = filled.blob("a")
    page = StoredPage(url="https://a.test/x/", headers={}, stored=1.0, body=b"body")
    filled.store.keep_page("page", page)
    filled.store.keep_page(
        "file", StoredPage(url="https://a.test/x.tar.gz", headers={}, stored=1.0, digest=blob)
    )
    folder = filled.project("app")

    filled.gc()
    assert filled.store.page("page") == page
    assert filled.store.page("file") is None
    shutil.rmtree(folder)
    filled.gc()
    assert list((filled.store.root / "pages").iterdir()) == []


def test_freed_are_only_bytes_that_nobody_else_has(filled: FilledStore) -> None:
    path = filled.environment("killed", None, bytes_=1000)
    (filled.root / "uv-cache").hardlink_to(path / "lib" / "module.py")
    (path / "own").write_bytes(b"x" * 70)
    os.utime(path, (LONG_AGO, LONG_AGO))

    result = filled.gc()

    assert result.of("environments") == (1, 1070)
    assert result.freed == 70


def test_an_environment_that_a_process_was_started_in_stays(filled: FilledStore) -> None:
    folder = filled.root / "projects" / "gone"
    path = filled.environment("running", folder)
    process = filled.root / "proc" / "4711"
    process.mkdir()
    (process / "maps").write_text(f"7f00 r-xp 0 0 0 {path}/lib/x.so\n", encoding="utf-8")

    result = filled.gc()
    assert filled.environments() == {"running"}
    assert result.notes == ("environment `running` is in use by a running process and stays",)
    shutil.rmtree(process)
    filled.gc()
    assert filled.environments() == set()


def test_what_a_running_prepare_has_taken_or_made_stays(filled: FilledStore) -> None:
    taken, spare = filled.blob("taken"), filled.blob("spare")
    with Leases(filled.store.root).working():
        assert taken in Ledger(filled.store)
        new = filled.blob("new", used=time.time())
        half = filled.store.root / "envs" / "half"
        half.mkdir()
        part = filled.store.root / "partial" / f"{'ab' * 32}.part"
        part.touch()

        result = filled.gc()

        assert filled.held() == {taken, new}
        assert half.is_dir()
        assert part.exists()
        assert any("is at work" in note for note in result.notes)
    assert spare not in filled.held()
    filled.gc()
    assert (filled.held(), half.exists(), part.exists()) == (set(), False, False)


def test_a_part_that_somebody_fetches_stays_whatever_its_age(filled: FilledStore) -> None:
    part = filled.store.root / "partial" / f"{'ab' * 32}.part"
    part.touch()
    os.utime(part, (LONG_AGO, LONG_AGO))
    with filled.store.claim("ab" * 32, lambda _: None):
        filled.gc()
        assert part.exists()
        assert part.with_suffix(".lock").exists()
    filled.gc()
    assert list(part.parent.iterdir()) == []


def test_two_collections_at_once_are_one_after_the_other(filled: FilledStore) -> None:
    with (
        locked(filled.store.root / "gc.lock", wait_seconds=0),
        pytest.raises(LockHeldError),
        Leases(filled.store.root).collecting(0.2),
    ):
        pass


def test_a_store_that_is_not_there_has_nothing_to_remove(filled: FilledStore) -> None:
    shutil.rmtree(filled.store.root)

    assert filled.gc().removals == ()
    assert not filled.store.root.exists()


def test_beside_collections_without_end_whatever_is_taken_is_there(filled: FilledStore) -> None:
    done = threading.Event()
    failures: list[str] = []
    made: list[str] = []
    found: list[str] = []

    def work(names: list[str]) -> None:
        try:
            for name in names * 10:
                with Leases(filled.store.root).working():
                    digest = digest_of(name)
                    if digest in Ledger(filled.store):
                        found.append(name)
                    else:
                        filled.blob(name)
                        made.append(name)
                    time.sleep(0.005)
                    if digest not in filled.store or not filled.store.verify(digest):
                        failures.append(f"{name} was taken and is gone")
        except Exception as error:  # noqa: BLE001 - a thread would swallow it
            failures.append(repr(error))

    def collect() -> None:
        while not done.is_set():
            filled.gc()

    collector = threading.Thread(target=collect)
    # Each with names of its own: one process at a time makes a blob.
    workers = [
        threading.Thread(target=work, args=([f"{seed}-{number}" for number in range(3)],))
        for seed in range(3)
    ]
    collector.start()
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    collector.join()

    assert failures == []
    assert len(made) + len(found) == 90
    filled.gc()
    assert filled.held() == set()


def test_killed_at_any_point_it_leaves_what_is_needed_and_the_next_one_ends_it(
    tmp_path: Path,
) -> None:
    points = 0
    for point in range(1000):
        filled = FilledStore(tmp_path / str(point))
        kept = filled.blob("kept")
        folder = filled.root / "projects" / "app"
        filled.project("app", [filled.environment("app-1", folder, [kept])], last=[kept])
        filled.blob("spare")
        filled.environment("app-0", folder)
        filled.environment("killed", None)
        part = filled.store.root / "partial" / f"{'ab' * 32}.part"
        part.touch()
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(filled.root), str(point)],
            cwd=ROOT,
            check=False,
        )

        assert filled.held() >= {kept}
        assert (filled.store.root / "envs" / "app-1" / "lib" / "module.py").exists()
        filled.gc()
        assert filled.held() == {kept}
        assert filled.environments() == {"app-1"}
        assert list((filled.store.root / "trash").iterdir()) == []
        assert list(part.parent.iterdir()) == []
        shutil.rmtree(filled.root)
        if done.returncode == 0:
            points = point
            break
        assert done.returncode == -signal.SIGKILL

    assert points > 10


@given(
    projects=st.lists(
        st.tuples(
            st.lists(st.frozensets(st.integers(0, 7), max_size=4), max_size=3),
            st.frozensets(st.integers(0, 7), max_size=3),
            st.frozensets(st.integers(0, 7), max_size=3),
            st.booleans(),
        ),
        max_size=3,
    ),
    pinned=st.frozensets(st.integers(0, 7), max_size=2),
    built=st.dictionaries(st.integers(0, 7), st.integers(0, 7), max_size=3),
)
@settings(max_examples=30, deadline=None)
def test_exactly_what_living_projects_and_pins_reach_stays(
    projects: list[tuple[list[frozenset[int]], frozenset[int], frozenset[int], bool]],
    pinned: frozenset[int],
    built: dict[int, int],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        filled = FilledStore(Path(name))
        digests = [filled.blob(f"{number}.whl") for number in range(8)]
        ledger = Ledger(filled.store)
        for source, tool in built.items():
            ledger.built_with([digests[source]], [digests[tool]])
        for digest in digests:
            filled.used(digest, LONG_AGO)
        needed: set[int] = set(pinned)
        alive: set[str] = set()
        for number, (environments, last, planned, is_gone) in enumerate(projects):
            folder = filled.root / "projects" / str(number)
            paths = [
                filled.environment(f"{number}-{index}", folder, [digests[one] for one in blobs])
                for index, blobs in enumerate(environments)
            ]
            filled.project(
                str(number),
                paths,
                last=[digests[one] for one in last],
                planned=[digests[one] for one in planned],
            )
            if is_gone:
                shutil.rmtree(folder)
            else:
                needed |= {*last, *planned, *(one for blobs in environments for one in blobs)}
                alive |= {path.name for path in paths}
        for one in pinned:
            pin = Pin(kind="file", label=str(one), digests=frozenset({digests[one]}))
            Pins(filled.store.root).add(pin)
        for _ in built:
            needed |= {built[one] for one in needed if one in built}

        filled.gc()

        assert filled.held() == {digests[one] for one in needed}
        assert filled.environments() == alive
        assert filled.gc().removals == ()
