"""The store: blobs, pages and environments are complete or absent."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.adapters._arrival import Arrival
from provisioner.adapters._files import write_whole
from provisioner.adapters.store import Store, StoredPage, default_root
from provisioner.core.digest import Digest
from provisioner.errors import GpuenvError, IntegrityError, NetworkError
from tests.simulators.libnvml import NoCompilerError
from tests.simulators.libsync import preloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from random import Random

ROOT = Path(__file__).parents[2]
CONTENT = b"the bytes of a wheel\n" * 1000
DIGEST = Digest.parse(hashlib.sha256(CONTENT).hexdigest())
OTHER = Digest.parse(hashlib.sha256(b"other bytes").hexdigest())

RECEIVE = """
def receive(store, blocks, expected):
    with store.arriving("0" * 64) as arrival:
        arrival.begin(validator=None, size=None)
        at = 0
        for block in blocks:
            arrival.write(at, block)
            at += len(block)
        return store.keep(arrival, expected, "demo.whl")
"""

WRITER = (
    RECEIVE
    + """
import sys, time
from pathlib import Path
from provisioner.adapters.store import Store

def blocks():
    yield b"half of it"
    print("written", flush=True)
    time.sleep(600)

store = Store(Path(sys.argv[1]))
store.open()
receive(store, blocks(), None)
"""
)

CLAIMANT = (
    RECEIVE
    + """
import sys
from pathlib import Path
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest

store = Store(Path(sys.argv[1]))
store.open()
digest = Digest.parse(sys.argv[2])
fetched = 0
print("ready", flush=True)
sys.stdin.readline()
with store.claim(digest.hex, lambda holder: None):
    if digest not in store:
        fetched += 1
        receive(store, [b"the bytes of a wheel\\n" * 1000], digest)
print(fetched, digest in store, flush=True)
"""
)

FULL = (
    RECEIVE
    + """
import hashlib, os, sys
from pathlib import Path
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.errors import SpaceError

store = Store(Path(sys.argv[1]))
store.open()
small = receive(store, [b"small"], None)
try:
    receive(store, (os.urandom(1 << 16) for _ in range(64)), None)
except SpaceError as error:
    print(error.exit_code, error.message)
print(small in store, len(list((store.root / "blobs").rglob("*"))))
print([p.name for p in (store.root / "partial").iterdir() if p.suffix != ".lock"])
"""
)

FULL_IN_THE_MIDDLE = """
import os, subprocess, sys
from pathlib import Path
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.errors import SpaceError
import hashlib

BLOCK = 1 << 16
content = os.urandom(40 * BLOCK)
digest = Digest(hashlib.sha256(content).hexdigest())
store = Store(Path(sys.argv[1]))
store.open()
written = 0
try:
    with store.claim(digest.hex, print), store.arriving(digest.hex) as arrival:
        arrival.begin(validator="one", size=len(content))
        for at in range(0, len(content), BLOCK):
            arrival.write(at, content[at : at + BLOCK])
            written = at
            if at % (4 * BLOCK) == 0:
                arrival.flush()
except SpaceError as error:
    print(error.exit_code)
subprocess.run(["mount", "-o", "remount,size=8m", str(store.root)], check=True)
with store.claim(digest.hex, print), store.arriving(digest.hex) as arrival:
    (there,) = arrival.done
    print(there.start == 0, written - 4 * BLOCK <= there.stop <= written + BLOCK)
    arrival.write(there.stop, content[there.stop :])
    print(store.keep(arrival, digest, "a.whl") in store)
print([p.name for p in (store.root / "partial").iterdir() if p.suffix != ".lock"])
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return opened(tmp_path / "store")


def opened(root: Path) -> Store:
    """The store in a folder, made where it is missing."""
    store = Store(root)
    store.open()
    return store


def receive(
    store: Store, blocks: Iterable[bytes], expected: Digest | None, *, key: str = "0" * 64
) -> Digest:
    """Let a blob arrive as a fetch does."""
    with store.arriving(key) as arrival:
        arrival.begin(validator=None, size=None)
        at = 0
        for block in blocks:
            arrival.write(at, block)
            at += len(block)
        return store.keep(arrival, expected, "demo.whl")


def blobs(store: Store) -> list[str]:
    """The names of all blobs."""
    return [path.name for path in (store.root / "blobs").rglob("*") if path.is_file()]


def leftovers(store: Store) -> list[str]:
    """What lies in `partial/` beside locks."""
    return [path.name for path in (store.root / "partial").iterdir() if path.suffix != ".lock"]


def child(
    program: str, *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """A Python process with the project on its path."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_blob_lies_under_its_hash_with_the_bytes_that_arrived(store: Store) -> None:
    found = receive(store, [CONTENT[:100], b"", CONTENT[100:]], DIGEST)

    assert found == DIGEST
    assert DIGEST in store
    assert store.blob(DIGEST) == (store.root / "blobs" / "sha256" / DIGEST.hex[:2] / DIGEST.hex)
    assert store.blob(DIGEST).read_bytes() == CONTENT
    assert leftovers(store) == []


def test_a_blob_is_read_only(store: Store) -> None:
    receive(store, [CONTENT], DIGEST)

    assert stat.S_IMODE(store.blob(DIGEST).stat().st_mode) == 0o444


def test_bytes_without_an_expected_hash_are_kept_under_their_own(store: Store) -> None:
    assert receive(store, [CONTENT], None) == DIGEST
    assert DIGEST in store


def test_the_wrong_hash_keeps_nothing_and_shows_both(store: Store) -> None:
    with pytest.raises(IntegrityError) as caught:
        receive(store, [CONTENT], OTHER)

    assert (caught.value.exit_code, caught.value.code) == (4, "wrong-hash")
    assert "`demo.whl`" in caught.value.message
    assert DIGEST.hex in caught.value.causes[0]
    assert OTHER.hex in caught.value.causes[0]
    assert blobs(store) == leftovers(store) == []


def test_bytes_that_stop_to_arrive_make_no_blob(store: Store) -> None:
    def broken() -> Iterator[bytes]:
        yield CONTENT[:100]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        receive(store, broken(), DIGEST)

    assert blobs(store) == []
    assert DIGEST not in store


def test_an_arrival_goes_on_after_what_an_earlier_one_left(store: Store) -> None:
    with store.arriving(DIGEST.hex) as arrival:
        arrival.begin(validator='"etag"', size=len(CONTENT))
        arrival.write(0, CONTENT[:100])
        arrival.write(500, CONTENT[500:600])
    with store.arriving(DIGEST.hex) as arrival:
        assert arrival.done == ((0, 100), (500, 600))
        assert (arrival.size, arrival.validator) == (len(CONTENT), '"etag"')
        arrival.write(600, CONTENT[600:])
        arrival.write(100, CONTENT[100:500])
        assert store.keep(arrival, DIGEST, "demo.whl") == DIGEST

    assert store.blob(DIGEST).read_bytes() == CONTENT
    assert leftovers(store) == []


def test_an_arrival_without_a_validator_leaves_nothing(store: Store) -> None:
    with store.arriving(DIGEST.hex) as arrival:
        arrival.begin(validator=None, size=len(CONTENT))
        arrival.write(0, CONTENT[:100])

    assert leftovers(store) == []
    with store.arriving(DIGEST.hex) as arrival:
        assert (arrival.done, arrival.validator) == ((), None)


KILLED = """
import os, sys, time
from pathlib import Path
from provisioner.adapters.store import Store

store = Store(Path(sys.argv[1]))
store.open()
with store.claim("aa", print), store.arriving("aa") as arrival:
    arrival.begin(validator="one", size=1000)
    arrival.write(0, b"a" * 100)
    arrival.write(500, b"b" * 100)
    arrival.flush()
    arrival.write(100, b"c" * 100)
    print("written", flush=True)
    time.sleep(600)
"""


def killed(root: Path) -> None:
    """Let a process die that flushed two stretches and wrote a third."""
    with child(KILLED, root) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.kill()


def test_after_a_kill_what_was_flushed_is_there_and_nothing_else(tmp_path: Path) -> None:
    killed(tmp_path)
    store = opened(tmp_path)

    with store.claim("aa", print), store.arriving("aa") as arrival:
        assert arrival.done == ((0, 100), (500, 600))
        assert (arrival.size, arrival.validator) == (1000, "one")


def test_what_a_killed_process_left_is_taken_over_where_locks_do_not_work(tmp_path: Path) -> None:
    killed(tmp_path)
    (tmp_path / "partial" / "aa.lock").unlink()
    store = opened(tmp_path)

    with store.arriving("aa") as arrival:
        assert arrival.done == ((0, 100), (500, 600))


def test_where_locks_do_not_work_a_process_that_is_at_it_keeps_its_own(store: Store) -> None:
    with store.arriving("aa") as mine, store.arriving("aa") as other:
        mine.begin(validator='"a"', size=100)
        other.begin(validator='"a"', size=100)
        mine.write(0, b"m" * 50)
        other.write(0, b"o" * 100)
        found = store.keep(other, None, "demo.whl")
        mine.write(50, b"m" * 50)
        assert store.keep(mine, None, "demo.whl") in store

    assert store.blob(found).read_bytes() == b"o" * 100
    assert leftovers(store) == []


def test_of_many_that_want_what_was_left_one_gets_it_and_keeps_it(store: Store) -> None:
    with store.arriving("aa") as arrival:
        arrival.begin(validator='"a"', size=100)
        arrival.write(0, b"a" * 50)
    ready = threading.Barrier(8)

    def take(number: int) -> tuple[bool, Digest]:
        ready.wait(30)
        with store.arriving("aa") as arrival:
            resumed = bool(arrival.done)
            ready.wait(30)
            if not resumed:
                arrival.begin(validator=None, size=100)
                arrival.write(0, bytes([number]) * 50)
            arrival.write(50, bytes([number]) * 50)
            return resumed, store.keep(arrival, None, "demo.whl")

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(take, range(8)))

    assert [resumed for resumed, _ in taken].count(True) == 1
    assert len(blobs(store)) == len({digest for _, digest in taken}) == 8
    assert all(store.verify(digest) for _, digest in taken)
    assert leftovers(store) == []


def test_whoever_lost_a_file_and_begins_anew_cuts_off_nothing_of_what_another_published(
    store: Store,
) -> None:
    partial = store.root / "partial"
    with store.arriving("aa") as mine:
        mine.begin(validator='"a"', size=len(CONTENT))
        mine.write(0, CONTENT[:100])
        mine.flush()
        (folder,) = partial.glob("aa.*/")
        folder.rename(partial / "aa.other")
        other = Arrival(partial / "aa.other")
        other.write(100, CONTENT[100:])
        assert store.keep(other, DIGEST, "demo.whl") == DIGEST
        other.close()
        with pytest.raises(NetworkError) as caught:
            mine.begin(validator='"b"', size=10)

    assert caught.value.code == "taken-over"
    assert store.blob(DIGEST).read_bytes() == CONTENT
    assert leftovers(store) == []


ARRIVES = """
import sys
from contextlib import suppress
from pathlib import Path
from provisioner.adapters.store import Store

store = Store(Path(sys.argv[1]))
store.open()
with suppress(OSError), store.arriving("aa") as arrival:
    arrival.begin(validator="one", size=1000)
    arrival.write(0, b"a" * 600)
    print("begun", flush=True)
    sys.stdin.readline()
    arrival.flush()
    print("flushed", flush=True)
    sys.stdin.readline()
    arrival.write(600, b"a" * 400)
    store.keep(arrival, None, "demo.whl")
    print("kept", flush=True)
    sys.stdin.readline()
"""


def flushes(root: Path, folder: Path, *, failures: int = 0) -> list[list[str]]:
    """What a process flushes and renames before each of its words, while a file arrives."""
    log = folder / "flushes"
    try:
        variables = preloaded(folder, log, failures=failures)
    except (NoCompilerError, NotImplementedError) as error:
        pytest.skip(str(error))
    found = []
    with child(ARRIVES, root, variables=variables) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in process.stdout:
            found.append(log.read_text(encoding="utf-8").splitlines())
            log.write_text("", encoding="utf-8")
            process.stdin.write("\n")
            process.stdin.flush()
    return found


def test_bytes_are_on_the_disk_before_the_journal_names_them_and_before_they_get_a_name(
    tmp_path: Path,
) -> None:
    _, flushed, kept = flushes(tmp_path / "store", tmp_path)
    (name,) = [path.name for path in (tmp_path / "store").glob("blobs/sha256/??/*")]
    journal = ["flush journal.json.new", "rename journal.json"]
    assert flushed[:3] == ["flush part", *journal]
    assert len([line for line in flushed[3:] if line.startswith("flush aa.")]) == 1
    assert flushed[-1] == "flush partial"
    assert kept == ["flush part", f"rename {name}", f"flush {name[:2]}", "flush sha256"]


def test_what_could_not_be_flushed_is_in_no_journal(tmp_path: Path) -> None:
    flushes(tmp_path / "store", tmp_path, failures=1)
    store = opened(tmp_path / "store")
    with store.arriving("aa") as arrival:
        assert arrival.done == ()


def test_whoever_lost_a_file_to_another_notices_and_publishes_nothing(store: Store) -> None:
    with store.arriving("aa") as arrival:
        arrival.begin(validator='"a"', size=100)
        arrival.write(0, b"a" * 100)
        (folder,) = (store.root / "partial").glob("aa.*/")
        folder.rename(folder.with_name("aa.another"))
        with pytest.raises(NetworkError) as caught:
            store.keep(arrival, None, "demo.whl")
        time.sleep(1.1)
        with pytest.raises(NetworkError):
            arrival.write(0, b"b")

    assert caught.value.code == "taken-over"
    assert blobs(store) == []
    assert (store.root / "partial" / "aa.another" / "part").read_bytes() == b"a" * 100


@pytest.mark.parametrize("journal", ["", "{}", "[[[", "\0"])
def test_without_a_journal_that_can_be_read_nothing_is_gone_on_with(
    journal: str, tmp_path: Path
) -> None:
    killed(tmp_path)
    (written,) = (tmp_path / "partial").glob("aa.*/journal.json")
    written.write_text(journal, encoding="utf-8")
    store = opened(tmp_path)

    with store.claim("aa", print), store.arriving("aa") as arrival:
        assert (arrival.done, arrival.validator) == ((), None)
    assert leftovers(store) == []


def test_what_a_journal_names_and_is_not_there_is_not_believed(tmp_path: Path) -> None:
    killed(tmp_path)
    (part,) = (tmp_path / "partial").glob("aa.*/part")
    os.truncate(part, 550)
    store = opened(tmp_path)

    with store.claim("aa", print), store.arriving("aa") as arrival:
        assert arrival.done == ((0, 100), (500, 550))


def test_a_block_that_comes_late_is_written_to_no_other_file(store: Store) -> None:
    with store.arriving("aa") as arrival:
        arrival.begin(validator='"a"', size=100)
        arrival.write(0, b"a")

    with pytest.raises(ValueError, match="closed"):
        arrival.write(0, b"late")


@given(chance=st.randoms(use_true_random=True), size=st.integers(1, 3_000_000))
@settings(max_examples=10, deadline=None)
def test_in_whatever_order_parts_come_the_hash_is_that_of_the_whole(
    chance: Random, size: int
) -> None:
    content = chance.randbytes(size)
    starts = list(range(0, size, 100_000))
    chance.shuffle(starts)
    with tempfile.TemporaryDirectory() as folder:
        store = opened(Path(folder))
        with store.arriving("aa") as arrival, ThreadPoolExecutor(4) as pool:
            arrival.begin(validator='"a"', size=size)
            list(pool.map(lambda at: arrival.write(at, content[at : at + 100_000]), starts))
            assert arrival.is_whole
            assert store.keep(arrival, None, "a.whl").hex == hashlib.sha256(content).hexdigest()


def test_a_writer_killed_in_the_middle_leaves_no_blob(tmp_path: Path) -> None:
    writer = child(WRITER, tmp_path / "store")
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
    store = opened(tmp_path / "store")

    assert writer.returncode == -signal.SIGKILL
    assert blobs(store) == []
    assert receive(store, [CONTENT], DIGEST) in store


def test_a_killed_process_holds_no_claim(tmp_path: Path) -> None:
    program = WRITER.replace(
        "receive(store, blocks(), None)",
        "with store.claim('aa', print): list(blocks())",
    )
    holder = child(program, tmp_path / "store")
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "written\n"
        holder.send_signal(signal.SIGKILL)
    waited: list[str] = []

    with opened(tmp_path / "store").claim("aa", waited.append):
        pass

    assert waited == []


def test_of_two_processes_that_want_one_blob_one_fetches_it(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    first, second = (child(CLAIMANT, store.root, DIGEST.hex) for _ in range(2))
    with first, second:
        for process in (first, second):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        said = []
        for process in (first, second):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in (first, second):
            assert process.stdout is not None
            said.append(process.stdout.read().split())

    assert sorted(said) == [["0", "True"], ["1", "True"]]
    assert blobs(store) == [DIGEST.hex]


def test_whoever_waits_for_a_claim_is_told_once_who_holds_it(store: Store) -> None:
    waited: list[str] = []
    waits, released = threading.Event(), threading.Event()

    def tell(holder: str) -> None:
        waited.append(holder)
        waits.set()

    def wait() -> None:
        with store.claim("aa", tell):
            released.set()

    thread = threading.Thread(target=wait)
    with store.claim("aa", waited.append):
        thread.start()
        assert waits.wait(30)
        assert not released.is_set()
    thread.join(30)

    assert released.is_set()
    assert len(waited) == 1
    assert f"process {os.getpid()}" in waited[0]


def test_two_writers_of_the_same_bytes_leave_one_whole_blob(store: Store) -> None:
    def write() -> None:
        parts = (CONTENT[i : i + 100] for i in range(0, len(CONTENT), 100))
        receive(store, parts, None, key=threading.current_thread().name)

    threads = [threading.Thread(target=write, name=f"{number:064}") for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert blobs(store) == [DIGEST.hex]
    assert store.blob(DIGEST).read_bytes() == CONTENT
    assert leftovers(store) == []


def on_a_small_file_system(root: Path, program: str) -> list[str]:
    """What a program says whose folder is a file system of one MiB."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("a small file system can be mounted only by root, with unshare")
    root.mkdir()
    mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    words = ["sh", "-c", mount, "sh", str(root), sys.executable, program]
    done = subprocess.run(
        ["unshare", "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "mount: " in done.stderr and done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_where_the_file_system_is_full_what_was_flushed_is_gone_on_with_once_there_is_room(
    tmp_path: Path,
) -> None:
    said = on_a_small_file_system(tmp_path / "store", FULL_IN_THE_MIDDLE)
    assert said == ["5", "True True", "True", "[]"]


def test_a_full_file_system_is_told_and_keeps_nothing_of_what_cannot_be_gone_on_with(
    tmp_path: Path,
) -> None:
    said = on_a_small_file_system(tmp_path / "store", FULL)
    assert said[0].startswith("5 no space left on the file system of")
    # The one small blob, its folder and the folder of all.
    assert said[1] == "True 3"
    assert said[2] == "[]"


def test_a_store_of_another_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    (root / "VERSION").write_text("2\n", encoding="utf-8")

    with pytest.raises(GpuenvError) as caught:
        Store(root).open()

    assert caught.value.code == "store-unusable"
    assert "format `1`" in caught.value.causes[0]
    assert "`2`" in caught.value.causes[0]
    assert (root / "VERSION").read_text(encoding="utf-8") == "2\n"


def test_a_store_of_another_format_gets_no_folders_of_this_one(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    (root / "VERSION").write_text("2\n", encoding="utf-8")

    with pytest.raises(GpuenvError):
        Store(root).open()

    assert [path.name for path in root.iterdir()] == ["VERSION"]


def test_a_store_opens_again_with_what_it_held(store: Store) -> None:
    receive(store, [CONTENT], DIGEST)

    again = opened(store.root)

    assert (store.root / "VERSION").read_text(encoding="utf-8") == "1\n"
    assert DIGEST in again


def test_a_store_that_cannot_be_a_folder_is_an_error_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(GpuenvError) as caught:
        Store(tmp_path / "file" / "store").open()

    assert caught.value.code == "store-unusable"


@given(text=st.text(max_size=80) | st.from_regex(r"[0-9a-fA-F./\\]{60,68}", fullmatch=True))
def test_only_sixty_four_hexadecimal_digits_become_a_digest(text: str) -> None:
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdefABCDEF")
    if is_digest:
        assert Digest.parse(text).hex == text.lower()
    else:
        with pytest.raises(ValueError, match="is not a SHA-256"):
            Digest.parse(text)


@given(raw=st.binary(min_size=32, max_size=32))
def test_no_digest_leaves_the_folder_of_the_blobs(raw: bytes) -> None:
    root = Path("/some/store")
    path = Store(root).blob(Digest.parse(raw.hex()))

    assert path.resolve().is_relative_to(root / "blobs" / "sha256")
    assert path.name == raw.hex()


@given(key=st.text(max_size=200), body=st.binary(max_size=200))
@settings(max_examples=30, deadline=None)
def test_whatever_a_page_is_called_it_stays_in_its_folder_and_comes_back(
    key: str, body: bytes
) -> None:
    page = StoredPage(url="https://index.test/a/", headers={"etag": '"1"'}, stored=5.5, body=body)
    with tempfile.TemporaryDirectory() as folder:
        store = opened(Path(folder) / "store")
        store.keep_page(key, page)

        assert store.page(key) == page
        assert [path.name for path in Path(folder).iterdir()] == ["store"]
        assert len(list((store.root / "pages").iterdir())) == 2


def test_a_page_that_was_never_kept_is_absent(store: Store) -> None:
    assert store.page("https://index.test/a/") is None


def test_a_page_that_stands_for_a_blob_comes_back_with_its_digest(store: Store) -> None:
    page = StoredPage(url="https://index.test/a.whl", headers={}, stored=1.0, digest=DIGEST)

    store.keep_page("key", page)

    assert store.page("key") == page


def test_a_newer_page_replaces_the_older_one_and_its_body(store: Store) -> None:
    for body in (b"old", b"new"):
        store.keep_page("key", StoredPage(url="u", headers={}, stored=1.0, body=body))

    kept = store.page("key")
    assert kept is not None
    assert kept.body == b"new"
    assert len(list((store.root / "pages").iterdir())) == 2


def test_the_same_body_kept_again_stays(store: Store) -> None:
    for stored in (1.0, 2.0):
        store.keep_page("key", StoredPage(url="u", headers={}, stored=stored, body=b"same"))

    kept = store.page("key")
    assert kept is not None
    assert (kept.stored, kept.body) == (2.0, b"same")


def test_a_page_whose_body_is_gone_is_absent(store: Store) -> None:
    store.keep_page("key", StoredPage(url="u", headers={}, stored=1.0, body=b"body"))
    for path in (store.root / "pages").iterdir():
        if path.suffix != ".json":
            path.unlink()

    assert store.page("key") is None


def test_every_environment_gets_a_path_of_its_own(store: Store) -> None:
    assert len({store.new_environment("demo") for _ in range(100)}) == 100


@given(label=st.text(max_size=200) | st.text("\U00020000", min_size=80, max_size=90))
@settings(max_examples=50, deadline=None)
def test_any_label_makes_a_folder_that_can_be_made(label: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = opened(Path(folder))
        path = store.new_environment(label)
        assert path.parent == store.root / "envs"
        path.mkdir()


def test_free_bytes_are_those_of_the_stores_file_system(store: Store) -> None:
    free = shutil.disk_usage(store.root).free

    # Others write to the same file system meanwhile.
    assert store.free_bytes() == pytest.approx(free, abs=1 << 30)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"GPUENV_STORE": "/chosen", "XDG_DATA_HOME": "/data"}, "/chosen"),
        ({"XDG_DATA_HOME": "/data"}, "/data/gpuenv"),
        ({"GPUENV_STORE": "", "XDG_DATA_HOME": ""}, "HOME/.local/share/gpuenv"),
        ({}, "HOME/.local/share/gpuenv"),
    ],
)
def test_the_store_lies_in_the_users_data_folder_unless_named(
    variables: dict[str, str], expected: str, tmp_path: Path
) -> None:
    assert default_root(variables, tmp_path) == Path(expected.replace("HOME", str(tmp_path)))


def test_the_store_lies_in_the_library_folder_of_macos(tmp_path: Path) -> None:
    library = tmp_path / "Library" / "Application Support"
    library.mkdir(parents=True)

    assert default_root({}, tmp_path) == library / "gpuenv"


WRITERS = 16
ROUNDS = 10


def at_once(act: Callable[[int], None]) -> None:
    """Do something in many threads that begin together; the first failure is raised."""
    gate = threading.Barrier(WRITERS)

    def begin(number: int) -> None:
        gate.wait()
        act(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(begin, number) for number in range(WRITERS)]:
            done.result()


def keep_at_once(store: Store, key: str, page: StoredPage) -> None:
    """Keep one page in many threads."""
    at_once(lambda _: store.keep_page(key, page))


@pytest.mark.parametrize("before", [None, b"an older page"])
def test_many_threads_that_keep_one_page_leave_it_whole(before: bytes | None, store: Store) -> None:
    for turn in range(ROUNDS):
        key = f"key {turn}"
        page = StoredPage(url="u", headers={"etag": '"1"'}, stored=2.0, body=CONTENT)
        if before is not None:
            store.keep_page(key, StoredPage(url="u", headers={}, stored=1.0, body=before))

        keep_at_once(store, key, page)

        assert store.page(key) == page
    assert len(list((store.root / "pages").iterdir())) == 2 * ROUNDS


def test_many_threads_that_keep_different_pages_under_one_key_never_mix_them(store: Store) -> None:
    bodies = [b"%d " % number * 1000 for number in range(WRITERS)]

    def keep(number: int) -> None:
        store.keep_page("key", StoredPage(url="u", headers={}, stored=1.0, body=bodies[number]))
        found = store.page("key")
        assert found is None or found.body in bodies

    for _ in range(ROUNDS):
        at_once(keep)

    store.keep_page("key", StoredPage(url="u", headers={}, stored=2.0, body=b"the last"))
    last = store.page("key")
    assert last is not None
    assert last.body == b"the last"


def test_many_threads_that_write_one_file_leave_one_of_their_contents(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    contents = [f"{number} " * 10_000 for number in range(WRITERS)]

    def write(number: int) -> None:
        write_whole(path, contents[number])
        assert path.read_text(encoding="utf-8") in contents

    for _ in range(ROUNDS):
        at_once(write)

    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("head", [b"", b"[[[", b"\xff", b"[]", b"5", b"null", b'"x"', b"{}"])
def test_a_page_whose_head_is_damaged_is_absent_and_can_be_kept_again(
    head: bytes, store: Store
) -> None:
    page = StoredPage(url="u", headers={}, stored=1.0, body=b"body")
    store.keep_page("key", page)
    (file,) = (store.root / "pages").glob("*.json")
    file.write_bytes(head)

    assert store.page("key") is None
    store.keep_page("key", page)
    assert store.page("key") == page
