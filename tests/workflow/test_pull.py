"""Pull against an index on a real socket: what is fetched, kept and served again."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import http.server
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._origin import BodyAnswer, FileAnswer, RelayAnswer, Request
from provisioner.adapters.archives import check_archive
from provisioner.adapters.certificates import CertificateAuthority
from provisioner.adapters.gateway import Gateway
from provisioner.adapters.http import TRIES, Http
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.core.index_policy import IMMUTABLE
from provisioner.core.plan import FetchPlan, LockedFile, plan_fetch
from provisioner.core.profile import CacheControl, Index
from provisioner.core.urls import Login
from provisioner.errors import IntegrityError, NetworkError
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from tests.simulators.index import HTML_TYPE, JSON_TYPE, IndexSimulator
from tests.simulators.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.simulators.index import PublishedFile

NAMES = tuple(f"part{number}" for number in range(12))
WHEEL = "demo-1.0-py3-none-any.whl"
JSON = {"accept": JSON_TYPE}
LOOK: dict[str, dict[str, str]] = {"HEAD": {}, "GET": {"range": "bytes=0-9"}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    made = Store(tmp_path / "store")
    made.open()
    return made


@pytest.fixture
def index() -> Iterator[IndexSimulator]:
    """An index in the manner of NVIDIA's."""
    with IndexSimulator() as started:
        yield started


@pytest.fixture
def pypi() -> Iterator[IndexSimulator]:
    """An index in the manner of PyPI."""
    with IndexSimulator("pypi") as started:
        yield started


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A wheel to publish."""
    return make_wheel(tmp_path / "wheels", "demo", "1.0", size=100_000)


def anything(path: Path, name: str) -> None:
    """Keep any bytes, for tests of when files are kept."""
    del path, name


@contextmanager
def pull_of(
    store: Store,
    tmp_path: Path,
    *indexes: Index,
    offline: bool = False,
    check: Callable[[Path, str], None] = check_archive,
) -> Iterator[Pull]:
    """A pull with nothing of the user's; each is like a new process."""
    http_client = Http({"NETRC": str(tmp_path / "no-netrc")}, connections=16)
    try:
        yield Pull(store, http_client, indexes, Quiet(), offline=offline, check=check)
    finally:
        http_client.close()


@pytest.fixture
def pull(store: Store, tmp_path: Path) -> Iterator[Pull]:
    """A pull without rules for indexes."""
    with pull_of(store, tmp_path) as made:
        yield made


@pytest.fixture
def careless(store: Store, tmp_path: Path) -> Iterator[Pull]:
    """A pull that keeps any bytes."""
    with pull_of(store, tmp_path, check=anything) as made:
        yield made


def locked(index: IndexSimulator, file: PublishedFile) -> LockedFile:
    """A published file as a lock names it."""
    return LockedFile(
        name=file.filename,
        url=index.file_url(file.filename),
        digest=Digest.parse(file.sha256),
        size=file.size,
    )


def missing(*files: LockedFile) -> FetchPlan:
    """A plan for a store that has nothing."""
    return plan_fetch(files, ())


def got(
    pull: Pull, url: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer, whatever its kind."""
    with pull.answer(Request(method=method, url=url, headers=headers or {})) as reply:
        if isinstance(reply, FileAnswer):
            return 200, {"etag": reply.tag}, reply.path.read_bytes()
        if isinstance(reply, BodyAnswer):
            return reply.status, dict(reply.headers), reply.body
        assert isinstance(reply, RelayAnswer)
        return reply.status, dict(reply.headers), b"".join(reply.blocks)


def blobs(store: Store) -> set[str]:
    """The names of all blobs."""
    return {path.name for path in (store.root / "blobs").rglob("*") if path.is_file()}


def refused(url: str, index: IndexSimulator, pull: Pull) -> str:
    """What a client is told where nothing can be answered."""
    index.reset_log()
    status, _, body = got(pull, url)
    assert status == 424
    return body.decode()


def basic(secret: str) -> str:
    """Basic authentication for `user:password`."""
    return f"Basic {base64.b64encode(secret.encode()).decode()}"


def page_url(index: IndexSimulator, project: str) -> str:
    """The URL of a project's page."""
    return f"{index.index_url}{project}/"


def test_every_file_of_a_plan_is_fetched_once(
    pull: Pull, store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    made = [index.publish(make_wheel(tmp_path / "w", name, "1.0", size=5000)) for name in NAMES]
    files = [locked(index, file) for file in made]

    pull.fetch(missing(*files, *files))
    pull.fetch(missing(*files))

    assert [index.gets(file.filename) for file in made] == [1] * len(NAMES)
    assert blobs(store) == {file.sha256 for file in made}
    assert pull.fetched == {Digest.parse(file.sha256): file.size for file in made}
    for file in made:
        assert store.blob(Digest.parse(file.sha256)).read_bytes() == file.content.read_bytes()


def test_a_second_run_asks_nothing(
    store: Store, index: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    file = locked(index, index.publish(demo))
    for _ in range(2):
        with pull_of(store, tmp_path) as pull:
            pull.fetch(plan_fetch([file], store))

    assert index.gets(WHEEL) == 1


def test_a_plan_without_missing_files_asks_nothing(pull: Pull, index: IndexSimulator) -> None:
    pull.fetch(FetchPlan(missing=(), held=()))

    assert index.requests == []
    assert pull.fetched == {}


def test_the_wrong_hash_leaves_the_store_as_it_was(
    pull: Pull, store: Store, index: IndexSimulator, demo: Path
) -> None:
    file = locked(index, index.publish(demo))
    index.corrupt(WHEEL)

    with pytest.raises(IntegrityError) as caught:
        pull.fetch(missing(file))

    assert (caught.value.exit_code, caught.value.code) == (4, "wrong-hash")
    assert file.digest.hex in caught.value.causes[0]
    assert blobs(store) == set()
    assert [path.suffix for path in (store.root / "partial").iterdir()] in ([], [".lock"])


def test_one_wrong_file_is_told_beside_others_that_are_right(
    pull: Pull, store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    made = [index.publish(make_wheel(tmp_path / "w", name, "1.0")) for name in NAMES]
    index.corrupt(made[3].filename)

    with pytest.raises(IntegrityError, match=made[3].filename):
        pull.fetch(missing(*(locked(index, file) for file in made)))

    assert made[3].sha256 not in blobs(store)


def test_a_file_that_the_server_lacks_is_a_network_error(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    file = replace(locked(index, index.publish(demo)), url=f"{index.url}/demo/gone.whl")

    with pytest.raises(NetworkError) as caught:
        pull.fetch(missing(file))

    assert (caught.value.exit_code, caught.value.code) == (3, "refused-by-server")
    assert "404" in caught.value.causes[0]


def test_a_download_that_broke_off_goes_on_where_it_stopped(
    store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    large = index.publish(make_wheel(tmp_path / "w", "demo", "1.0", size=3_000_000))
    file = locked(index, large)
    index.break_at(WHEEL, 600_000, times=None)
    with pull_of(store, tmp_path) as pull, pytest.raises(NetworkError):
        pull.fetch(missing(file))
    index.heal()
    index.reset_log()

    with pull_of(store, tmp_path) as pull:
        pull.fetch(missing(file))

    assert store.blob(file.digest).read_bytes() == large.content.read_bytes()
    assert index.file_bytes_served(WHEEL) == large.size - 600_000


def test_a_connection_that_breaks_costs_nothing_twice(
    store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    large = index.publish(make_wheel(tmp_path / "w", "demo", "1.0", size=3_000_000))
    file = locked(index, large)
    index.truncate_after(WHEEL, 2_000_000, times=1)

    with pull_of(store, tmp_path) as pull:
        pull.fetch(missing(file))

    assert store.blob(file.digest).read_bytes() == large.content.read_bytes()
    assert index.gets(WHEEL) == 2
    assert index.file_bytes_served(WHEEL) == large.size


def test_a_left_over_part_that_is_damaged_is_fetched_anew(
    store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    large = index.publish(make_wheel(tmp_path / "w", "demo", "1.0", size=3_000_000))
    file = locked(index, large)
    with store.arriving(file.digest.hex) as arrival:
        arrival.begin(validator=large.etag, size=large.size)
        arrival.write(0, b"not what the server has")

    with pull_of(store, tmp_path) as pull:
        pull.fetch(missing(file))

    assert store.blob(file.digest).read_bytes() == large.content.read_bytes()


def test_a_left_over_part_of_another_version_of_the_file_is_not_mixed_in(
    store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    large = index.publish(make_wheel(tmp_path / "w", "demo", "1.0", size=3_000_000))
    file = locked(index, large)
    with store.arriving(file.digest.hex) as arrival:
        arrival.begin(validator='"another"', size=large.size)
        arrival.write(0, b"of another version")

    with pull_of(store, tmp_path) as pull:
        pull.fetch(missing(file))

    assert index.gets(WHEEL) == 1
    assert store.blob(file.digest).read_bytes() == large.content.read_bytes()


def test_a_failed_fetch_can_be_tried_again(pull: Pull, index: IndexSimulator, demo: Path) -> None:
    file = locked(index, index.publish(demo))
    index.corrupt(WHEEL, times=1)
    with pytest.raises(IntegrityError):
        pull.fetch(missing(file))

    pull.fetch(missing(file))

    assert file.digest in pull.store


def test_offline_everything_that_is_missing_is_listed_and_nobody_is_asked(
    store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    made = [index.publish(make_wheel(tmp_path / "w", name, "1.0")) for name in NAMES[:3]]
    files = [locked(index, file) for file in made]
    unsized = replace(files[2], size=None)

    with pull_of(store, tmp_path, offline=True) as pull, pytest.raises(NetworkError) as caught:
        pull.fetch(missing(files[0], files[1], unsized))

    assert (caught.value.exit_code, caught.value.code) == (3, "missing-offline")
    assert len(caught.value.causes) == 3
    for file in files:
        (cause,) = [cause for cause in caught.value.causes if file.name in cause]
        assert file.digest.hex in cause
        assert file.url in cause
        assert (f"{file.size} bytes" in cause) == (file is not files[2])
    assert index.requests == []


def test_offline_a_plan_that_the_store_holds_is_no_error(
    store: Store, index: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    file = locked(index, index.publish(demo))
    with pull_of(store, tmp_path) as pull:
        pull.fetch(missing(file))
    index.reset_log()

    with pull_of(store, tmp_path, offline=True) as pull:
        pull.fetch(plan_fetch([file], store))
        pull.know([file])
        assert got(pull, file.url)[2] == demo.read_bytes()

    assert index.requests == []


def test_secrets_of_a_url_stand_in_no_error(store: Store, demo: Path, tmp_path: Path) -> None:
    digest = Digest.parse(hashlib.sha256(demo.read_bytes()).hexdigest())
    url = f"http://someone:secret@127.0.0.1:9/{WHEEL}"
    file = LockedFile(name=WHEEL, url=url, digest=digest, size=None)

    for offline in (True, False):
        with (
            pull_of(store, tmp_path, offline=offline) as pull,
            pytest.raises(NetworkError) as caught,
        ):
            pull.fetch(missing(file))
        assert "secret" not in caught.value.message + "".join(caught.value.causes)


def test_a_client_that_asks_for_a_planned_file_gets_the_verified_blob(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    file = locked(index, index.publish(demo))
    pull.know([file])

    for headers in ({}, {"range": "bytes=0-9"}, {"if-none-match": '"x"'}):
        assert got(pull, file.url, headers) == (
            200,
            {"etag": file.digest.hex},
            demo.read_bytes(),
        )

    assert index.gets(WHEEL) == 1
    assert "range" not in index.requests[0].headers


def test_a_planned_file_with_the_wrong_hash_reaches_no_client(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    file = locked(index, index.publish(demo))
    pull.know([file])
    index.corrupt(WHEEL)

    status, _, body = got(pull, file.url)

    assert status == 424
    assert b"wrong hash" in body
    assert [type(error) for error in pull.failures] == [IntegrityError]


def test_build_requirements_are_verified_against_the_hash_on_their_page(
    pull: Pull, store: Store, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    index.corrupt(WHEEL)
    got(pull, page_url(index, "demo"))

    status, _, body = got(pull, index.file_url(WHEEL))

    assert status == 424
    assert b"wrong hash" in body
    assert blobs(store) == set()


def test_a_lock_is_believed_before_a_page(pull: Pull, index: IndexSimulator, demo: Path) -> None:
    file = locked(index, index.publish(demo))
    pull.know([replace(file, digest=Digest.parse("0" * 64))])
    got(pull, page_url(index, "demo"))

    status, _, body = got(pull, file.url)

    assert (status, b"0" * 64 in body) == (424, True)


@pytest.mark.parametrize("accept", [JSON_TYPE, HTML_TYPE, "text/html"])
def test_the_hash_is_learned_from_every_form_of_a_page(
    accept: str, pull: Pull, pypi: IndexSimulator, demo: Path
) -> None:
    pypi.publish(demo)
    got(pull, page_url(pypi, "demo"), {"accept": accept})
    pypi.corrupt(WHEEL)

    assert got(pull, pypi.file_url(WHEEL))[0] == 424


def test_a_page_is_passed_on_as_it_is_and_kept(
    store: Store, index: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    index.publish(demo)
    with pull_of(store, tmp_path) as pull:
        first = got(pull, page_url(index, "demo"))
    index.stop()

    with pull_of(store, tmp_path) as pull:
        again = got(pull, page_url(index, "demo"))

    assert first[0] == again[0] == 200
    assert WHEEL.encode() in first[2]
    assert first[2] == again[2]
    assert first[1]["content-type"] == again[1]["content-type"] == "text/html; charset=UTF-8"


def test_while_resolving_a_page_that_was_kept_is_not_enough(
    store: Store, index: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    index.publish(demo)
    with pull_of(store, tmp_path) as pull:
        got(pull, page_url(index, "demo"))
    index.stop()

    with pull_of(store, tmp_path) as pull:
        pull.resolving = True
        assert got(pull, page_url(index, "demo"))[0] == 424
        assert [type(error) for error in pull.failures] == [NetworkError]


@pytest.mark.parametrize("status", [429, 503, 500])
def test_an_index_that_only_fails_is_asked_no_more_by_the_client(
    status: int, pull: Pull, index: IndexSimulator
) -> None:
    index.fail("/demo/", status)

    assert got(pull, page_url(index, "demo"))[0] == 424
    (error,) = pull.failures
    assert (error.exit_code, error.causes) == (3, (f"the server answered with status {status}",))
    assert len(index.requests) == TRIES


def test_a_pull_that_is_closed_waits_for_no_busy_index(pull: Pull, index: IndexSimulator) -> None:
    index.fail("/demo/", 429, retry_after="60")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(got, pull, page_url(index, "demo"))
        while not index.requests:
            time.sleep(0.01)
        pull.close()
        # One that was on its way to wait ends, too.
        assert answer.result(30)[0] == 424


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_while_building_an_index_that_only_fails_is_as_good_as_gone(
    status: int, pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    first = got(pull, page_url(index, "demo"))
    index.fail("/demo/", status)

    again = got(pull, page_url(index, "demo"))

    assert (again[0], again[2]) == (200, first[2])


def test_a_page_that_may_not_be_reused_is_revalidated_by_its_tag(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)

    pages = [got(pull, page_url(index, "demo"))[2] for _ in range(3)]

    assert [request.status for request in index.requests] == [200, 304, 304]
    assert len(set(pages)) == 1


def test_a_page_that_has_changed_is_served_as_it_is_now(
    pull: Pull, index: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    index.publish(demo)
    old = got(pull, page_url(index, "demo"))[2]
    index.publish(make_wheel(tmp_path / "wheels", "demo", "2.0"))

    new = got(pull, page_url(index, "demo"))[2]

    assert b"demo-2.0" not in old
    assert b"demo-2.0" in new


def test_a_page_is_reused_as_long_as_its_index_allows(
    pull: Pull, pypi: IndexSimulator, demo: Path
) -> None:
    pypi.publish(demo)

    for _ in range(3):
        status, headers, _ = got(pull, page_url(pypi, "demo"), JSON)
        assert (status, headers["cache-control"]) == (200, "max-age=600, public")

    assert len(pypi.requests) == 1


def test_a_profile_may_allow_more_than_the_index_says(
    store: Store, index: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    index.publish(demo)
    rule = Index(name="nvidia", url=index.index_url, cache_control=CacheControl(api="max-age=600"))
    with pull_of(store, tmp_path, rule) as pull:
        for _ in range(3):
            assert got(pull, page_url(index, "demo"))[1]["cache-control"] == "max-age=600"

    assert len(index.requests) == 1


def test_a_page_from_the_store_tells_its_age(
    pull: Pull, store: Store, pypi: IndexSimulator, demo: Path
) -> None:
    pypi.publish(demo)
    url = page_url(pypi, "demo")
    assert "age" not in got(pull, url, JSON)[1]
    name = f"{url}\n{JSON_TYPE}"
    kept = store.page(name)
    assert kept is not None
    store.keep_page(name, replace(kept, stored=time.time() - 100))

    age = int(got(pull, url, JSON)[1]["age"])

    assert 100 <= age < 600
    assert len(pypi.requests) == 1


def test_a_page_that_is_too_old_is_revalidated_and_young_again(
    pull: Pull, store: Store, pypi: IndexSimulator, demo: Path
) -> None:
    pypi.publish(demo)
    url = page_url(pypi, "demo")
    got(pull, url, JSON)
    name = f"{url}\n{JSON_TYPE}"
    kept = store.page(name)
    assert kept is not None
    store.keep_page(name, replace(kept, stored=kept.stored - 601))

    status, headers, _ = got(pull, url, JSON)

    assert status == 200
    assert int(headers.get("age", "0")) < 601
    assert [request.status for request in pypi.requests] == [200, 304]


def test_a_client_with_a_tag_of_its_own_still_gets_a_page_kept(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    url = page_url(index, "demo")
    with pull.answer(Request(method="GET", url=url, headers={})) as reply:
        assert isinstance(reply, BodyAnswer)
        tag = reply.headers["etag"]
    fresh = {"if-none-match": tag, "range": "bytes=0-3"}

    assert got(pull, url, fresh)[0] in {200, 304}
    assert "range" not in index.requests[-1].headers


def test_two_forms_of_a_page_are_kept_apart(pull: Pull, pypi: IndexSimulator, demo: Path) -> None:
    pypi.publish(demo)

    kinds = [
        got(pull, page_url(pypi, "demo"), {"accept": accept})[1]["content-type"]
        for accept in (JSON_TYPE, HTML_TYPE, JSON_TYPE)
    ]

    assert kinds == [JSON_TYPE, HTML_TYPE, JSON_TYPE]
    assert len(pypi.requests) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_passed_on_and_not_kept(
    status: int, pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    index.fail("/demo/", status, times=1)

    assert got(pull, page_url(index, "demo"))[0] == status
    assert got(pull, page_url(index, "demo"))[0] == 200
    assert pull.failures == ()


def test_offline_kept_pages_are_served_whatever_their_age_and_others_named(
    store: Store, index: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    index.publish(demo)
    with pull_of(store, tmp_path) as pull:
        page = got(pull, page_url(index, "demo"))[2]
    index.reset_log()

    with pull_of(store, tmp_path, offline=True) as pull:
        assert got(pull, page_url(index, "demo"))[2] == page
        for url in (page_url(index, "other"), f"{index.url}/other/other-1.0.tar.gz"):
            assert url in refused(url, index, pull)
        assert [error.code for error in pull.failures] == ["missing-offline"] * 2

    assert index.requests == []


@pytest.mark.parametrize("resolving", [False, True])
def test_offline_nobody_is_asked_for_a_look_at_a_file(
    resolving: bool,  # noqa: FBT001 - pytest gives it by name
    store: Store,
    index: IndexSimulator,
    demo: Path,
    tmp_path: Path,
) -> None:
    index.publish(demo)
    with pull_of(store, tmp_path, offline=True) as pull:
        pull.resolving = resolving
        for method in ("HEAD", "GET"):
            status, _, _ = got(pull, index.file_url(WHEEL), {"range": "bytes=0-9"}, method)
            assert status == 424

    assert index.requests == []


def test_a_file_that_nothing_planned_is_kept_and_served_again(
    store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    source = make_sdist(tmp_path / "w", "helper", "1.0")
    index.publish(source)
    url = index.file_url(source.name)
    with pull_of(store, tmp_path) as pull:
        assert got(pull, url)[2] == source.read_bytes()
    index.stop()

    with pull_of(store, tmp_path) as pull:
        assert got(pull, url)[2] == source.read_bytes()

    assert blobs(store) == {hashlib.sha256(source.read_bytes()).hexdigest()}
    assert index.gets(source.name) == 1


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("pages", [(), ("demo",)], ids=["of no page", "of a page"])
def test_while_resolving_a_look_at_a_file_is_passed_on_and_not_kept(
    method: str, pages: tuple[str, ...], pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    pull.resolving = True
    for page in pages:
        got(pull, page_url(index, page))

    looked = Request(method=method, url=index.file_url(WHEEL), headers=LOOK[method])
    with pull.answer(looked) as reply:
        assert isinstance(reply, RelayAnswer)
        body = b"".join(reply.blocks)

    assert body == (demo.read_bytes()[:10] if method == "GET" else b"")
    assert blobs(pull.store) == set()
    assert index.file_bytes_served(WHEEL) == len(body)


def test_while_resolving_a_file_that_is_held_is_not_asked_for(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    url = index.file_url(WHEEL)
    got(pull, url)
    index.reset_log()
    pull.resolving = True

    with pull.answer(Request(method="GET", url=url, headers={"range": "bytes=0-9"})) as reply:
        assert isinstance(reply, FileAnswer)

    # No page named its hash, so that the server is asked whether it is still the same.
    assert [(request.method, request.body_bytes) for request in index.requests] == [("HEAD", 0)]


def test_while_building_what_is_looked_at_is_fetched_once(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    got(pull, page_url(index, "demo"))
    url = index.file_url(WHEEL)

    for method in ("HEAD", "GET", "GET"):
        assert got(pull, url, {"range": "bytes=0-9"}, method)[2] == demo.read_bytes()

    assert index.gets(WHEEL) == 1
    assert [request.method for request in index.requests if request.filename == WHEEL] == ["GET"]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_while_building_a_look_at_a_file_of_no_page_keeps_the_whole_file(
    method: str, pull: Pull, store: Store, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)

    assert got(pull, index.file_url(WHEEL), LOOK[method], method)[2] == demo.read_bytes()

    assert blobs(store) == {hashlib.sha256(demo.read_bytes()).hexdigest()}


def test_a_bound_package_is_found_below_its_index_and_nowhere_else(
    pull: Pull, index: IndexSimulator, pypi: IndexSimulator, tmp_path: Path
) -> None:
    for name in ("tensorrt-cu12", "numpy"):
        path = make_wheel(tmp_path / "w", name, "1.0")
        index.publish(path)
        pypi.publish(path)
    bound = Index(name="nvidia", url=index.index_url, packages=("tensorrt*",))
    pull.route([bound])

    found = {
        (server.flavour, name): got(pull, page_url(server, name), JSON)[0]
        for server in (index, pypi)
        for name in ("tensorrt-cu12", "numpy")
    }

    assert found == {
        ("nvidia", "tensorrt-cu12"): 200,
        ("nvidia", "numpy"): 404,
        ("pypi", "tensorrt-cu12"): 404,
        ("pypi", "numpy"): 200,
    }
    assert [request.path for request in index.requests] == ["/tensorrt-cu12/"]
    assert [request.path for request in pypi.requests] == ["/simple/numpy/"]


def test_without_routes_every_index_may_have_every_package(
    pull: Pull, pypi: IndexSimulator, index: IndexSimulator, tmp_path: Path
) -> None:
    pypi.publish(make_wheel(tmp_path / "w", "tensorrt-cu12", "1.0"))
    pull.route([Index(name="nvidia", url=index.index_url, packages=("tensorrt*",))])
    pull.route(())

    assert got(pull, page_url(pypi, "tensorrt-cu12"), JSON)[0] == 200


def test_an_index_without_packages_binds_nothing(
    pull: Pull, pypi: IndexSimulator, index: IndexSimulator, tmp_path: Path
) -> None:
    pypi.publish(make_wheel(tmp_path / "w", "numpy", "1.0"))
    pull.route([Index(name="nvidia", url=index.index_url)])

    assert got(pull, page_url(pypi, "numpy"), JSON)[0] == 200


def test_a_clients_credentials_go_along_and_are_not_kept(
    store: Store, demo: Path, tmp_path: Path
) -> None:
    with IndexSimulator(credentials=("someone", "secret")) as index:
        file = locked(index, index.publish(demo))
        headers = {"authorization": "Basic c29tZW9uZTpzZWNyZXQ="}
        with pull_of(store, tmp_path) as pull:
            assert got(pull, page_url(index, "demo"))[0] == 401
            assert got(pull, page_url(index, "demo"), headers)[0] == 200
            pull.know([file])
            assert got(pull, file.url, headers)[0] == 200

    for path in store.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"c29tZW9uZTpzZWNyZXQ=" not in content
            assert b"someone:secret" not in content


def test_a_client_that_goes_away_is_no_failure_of_ours(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    file = locked(index, index.publish(demo))
    pull.know([file])

    with (
        pytest.raises(BrokenPipeError),
        pull.answer(Request(method="GET", url=file.url, headers={})),
    ):
        raise BrokenPipeError

    assert pull.failures == ()


def test_behind_the_gateway_every_client_together_fetches_a_file_once(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    pull.know([locked(index, index.publish(demo))])
    with Gateway(pull, CertificateAuthority()) as gateway:
        proxy = gateway.variables["HTTP_PROXY"].partition("@")[2]
        secret = gateway.variables["HTTP_PROXY"].removeprefix("http://").partition("@")[0]
        connections = [http.client.HTTPConnection(proxy, timeout=30) for _ in range(6)]
        for connection in connections:
            connection.request(
                "GET", index.file_url(WHEEL), headers={"Proxy-Authorization": basic(secret)}
            )
        bodies = [connection.getresponse().read() for connection in connections]
        for connection in connections:
            connection.close()

    assert bodies == [demo.read_bytes()] * 6
    assert index.gets(WHEEL) == 1


@dataclass
class Served:
    """What a server sends for a path; 304 where a client names the same validator."""

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers what it was told to, and keeps the headers of every request."""

    server: AnsweringServer

    def do_GET(self) -> None:
        """Answer."""
        seen = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, seen))
        served = self.server.served.get(self.path, Served(status=404))
        known = seen.get("if-none-match"), seen.get("if-modified-since")
        same = served.headers.get("ETag"), served.headers.get("Last-Modified")
        fresh = any(
            one is not None and one == other for one, other in zip(known, same, strict=True)
        )
        body = b"" if fresh else served.body
        self.send_response(304 if fresh else served.status)
        for name, value in served.headers.items():
            self.send_header(name, value)
        if not fresh:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the base's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet."""


class AnsweringServer(http.server.ThreadingHTTPServer):
    """A server that answers precisely what a test says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.served: dict[str, Served] = {}
        self.seen: list[tuple[str, str, Mapping[str, str]]] = []

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def methods(self) -> list[str]:
        """The methods of all requests."""
        return [method for method, _, _ in self.seen]


@contextmanager
def answering() -> Iterator[AnsweringServer]:
    """A server, while the context lasts."""
    with AnsweringServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    """A server that lacks everything so far."""
    with answering() as started:
        yield started


@dataclass
class Recorded(Quiet):
    """A progress that remembers what was started and finished."""

    names: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def started(self, key: str, name: str, size: int | None) -> None:
        """Remember it."""
        del size
        self.names[key] = name

    def finished(self, key: str) -> None:
        """Remember it."""
        self.done.append(key)


def sent_out(pull: Pull, url: str, headers: dict[str, str] | None = None) -> tuple[bytes, str]:
    """The content and the cache-control of a file that is answered from the store."""
    with pull.answer(Request(method="GET", url=url, headers=headers or {})) as reply:
        assert isinstance(reply, FileAnswer)
        return reply.path.read_bytes(), reply.cache_control


# Pages that lead elsewhere, or are not as they were asked for


def test_a_page_that_lies_elsewhere_leads_a_client_there_offline_too(
    store: Store, pypi: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    pypi.publish(demo)
    url = f"{pypi.url}/simple/Demo/"
    with pull_of(store, tmp_path) as pull:
        first = got(pull, url, JSON)
        assert got(pull, page_url(pypi, "demo"), JSON)[0] == 200
    pypi.reset_log()

    with pull_of(store, tmp_path, offline=True) as pull:
        again = got(pull, url, JSON)
        assert got(pull, again[1]["location"], JSON)[0] == 200

    assert first[0] == again[0] == 302
    assert first[1]["location"] == again[1]["location"] == page_url(pypi, "demo")
    assert pypi.requests == []


def test_a_page_at_another_origin_leads_there_with_its_whole_url(
    pull: Pull, server: AnsweringServer, pypi: IndexSimulator, demo: Path
) -> None:
    pypi.publish(demo)
    target = page_url(pypi, "demo")
    server.served["/demo/"] = Served(status=307, headers={"Location": target})

    status, headers, _ = got(pull, f"{server.url}/demo/", JSON)

    assert (status, headers["location"]) == (302, target)


def test_a_page_that_moved_back_is_served_itself(pull: Pull, server: AnsweringServer) -> None:
    html = {"Content-Type": "text/html"}
    server.served["/demo/"] = Served(status=302, headers={"Location": "/moved/"})
    server.served["/moved/"] = Served(b"moved", html)
    assert got(pull, f"{server.url}/demo/")[0] == 302
    server.served["/demo/"] = Served(b"back", html)

    assert got(pull, f"{server.url}/demo/")[::2] == (200, b"back")


def test_a_clients_date_is_not_passed_on_and_our_own_is(
    pull: Pull, server: AnsweringServer
) -> None:
    date, other = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"
    server.served["/demo/"] = Served(
        b"page", {"Content-Type": "text/html", "Last-Modified": date, "Cache-Control": "no-cache"}
    )

    for client_date in (date, other, date):
        asked = {"if-modified-since": client_date}
        assert got(pull, f"{server.url}/demo/", asked)[::2] == (200, b"page")

    dates = [headers.get("if-modified-since") for _, _, headers in server.seen]
    assert dates == [None, date, date]


def test_a_page_in_an_encoding_that_nobody_asked_for_is_undone_and_read(
    store: Store, server: AnsweringServer, demo: Path, tmp_path: Path
) -> None:
    digest = hashlib.sha256(demo.read_bytes()).hexdigest()
    page = f'<a href="{WHEEL}#sha256={digest}">demo</a>'.encode()
    server.served["/demo/"] = Served(
        gzip.compress(page), {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    )
    server.served[f"/demo/{WHEEL}"] = Served(b"something else")
    url = f"{server.url}/demo/"

    for offline in (False, True):
        with pull_of(store, tmp_path, offline=offline) as pull:
            status, headers, body = got(pull, url, {"accept-encoding": "gzip"})
            assert (status, body) == (200, page)
            assert "content-encoding" not in headers
            assert got(pull, f"{url}{WHEEL}")[0] == 424
    assert "gzip" not in server.seen[0][2].get("accept-encoding", "")


# Faults that nobody foresaw


@pytest.mark.parametrize("head", ["", "[[[", "[]", "null", "{}", '{"url": "u", "headers": {}}'])
def test_a_kept_page_that_is_damaged_is_asked_for_again(
    head: str, pull: Pull, store: Store, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    first = got(pull, page_url(index, "demo"))
    (file,) = (store.root / "pages").glob("*.json")
    file.write_text(head, encoding="utf-8")

    again = got(pull, page_url(index, "demo"))

    assert (again[0], again[2]) == (200, first[2])
    assert [request.status for request in index.requests] == [200, 200]
    assert pull.failures == ()


def test_a_kept_page_whose_parts_are_of_the_wrong_kind_is_asked_for_again(
    pull: Pull, store: Store, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    got(pull, page_url(index, "demo"))
    (file,) = (store.root / "pages").glob("*.json")
    head = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**head, "headers": [], "stored": None}), encoding="utf-8")

    assert got(pull, page_url(index, "demo"))[0] == 200
    assert pull.failures == ()


def test_a_fault_that_nobody_foresaw_is_a_failure_that_a_client_does_not_retry(
    pull: Pull, store: Store, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    shutil.rmtree(store.root / "pages")
    (store.root / "pages").write_text("no folder", encoding="utf-8")

    status, _, body = got(pull, page_url(index, "demo"))

    assert status == 424
    assert b"the gateway could not answer" in body
    (failure,) = pull.failures
    assert failure.code == "gateway-failed"
    assert "NotADirectoryError" in failure.causes[0]


def test_a_url_that_is_none_is_a_failure_and_ends_nothing(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)

    for url in ("http://[::1/demo/", "http://index.test:port/demo/"):
        assert got(pull, url)[0] == 424

    assert len(pull.failures) == 2
    assert got(pull, page_url(index, "demo"))[0] == 200


# Files


def test_two_files_of_one_name_are_fetched_and_told_apart(store: Store, tmp_path: Path) -> None:
    with IndexSimulator() as one, IndexSimulator() as other:
        made = [
            make_wheel(tmp_path / str(size), "demo", "1.0", size=size) for size in (50_000, 60_000)
        ]
        files = [
            locked(index, index.publish(path))
            for index, path in zip((one, other), made, strict=True)
        ]
        progress = Recorded()
        client = Http({"NETRC": str(tmp_path / "no-netrc")}, connections=16)
        Pull(store, client, (), progress, offline=False).fetch(missing(*files))
        client.close()

    assert files[0].digest != files[1].digest
    assert [store.blob(file.digest).read_bytes() for file in files] == [
        path.read_bytes() for path in made
    ]
    assert list(progress.names.values()) == [WHEEL, WHEEL]
    assert set(progress.done) == set(progress.names)


def test_an_unhashed_file_is_fetched_anew_when_its_tag_changed(
    careless: Pull, server: AnsweringServer
) -> None:
    path = "/helper-1.0.tar.gz"
    server.served[path] = Served(b"<html>log in first</html>", {"ETag": '"1"'})
    assert sent_out(careless, server.url + path)[0] == b"<html>log in first</html>"
    server.served[path] = Served(b"the real file", {"ETag": '"2"'})

    assert sent_out(careless, server.url + path)[0] == b"the real file"
    assert sent_out(careless, server.url + path)[0] == b"the real file"

    assert server.methods == ["GET", "HEAD", "GET", "HEAD"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}])
def test_an_unhashed_file_without_a_strong_tag_is_fetched_each_time(
    headers: dict[str, str], careless: Pull, server: AnsweringServer
) -> None:
    path = "/helper-1.0.tar.gz"
    for body in (b"one", b"two"):
        server.served[path] = Served(body, headers)
        assert sent_out(careless, server.url + path)[0] == body


def test_an_unhashed_file_whose_server_is_gone_does_while_building_and_offline(
    store: Store, tmp_path: Path
) -> None:
    with answering() as server:
        url = f"{server.url}/helper-1.0.tar.gz"
        server.served["/helper-1.0.tar.gz"] = Served(b"content", {"ETag": '"1"'})
        with pull_of(store, tmp_path, check=anything) as pull:
            sent_out(pull, url)

    with pull_of(store, tmp_path, offline=True) as pull:
        assert sent_out(pull, url)[0] == b"content"
    with pull_of(store, tmp_path, check=anything) as pull:
        assert sent_out(pull, url)[0] == b"content"
        pull.resolving = True
        assert got(pull, url)[0] == 424


@pytest.mark.parametrize(
    ("said", "told"), [({"Cache-Control": "max-age=60"}, "max-age=60"), ({}, "no-cache")]
)
def test_an_unhashed_file_lives_as_long_as_its_server_says(
    said: dict[str, str], told: str, store: Store, server: AnsweringServer, tmp_path: Path
) -> None:
    server.served["/helper-1.0.tar.gz"] = Served(b"content", {"ETag": '"1"', **said})

    for offline in (False, False, True):
        with pull_of(store, tmp_path, offline=offline, check=anything) as pull:
            assert sent_out(pull, f"{server.url}/helper-1.0.tar.gz") == (b"content", told)


def test_a_file_of_a_known_hash_never_changes_unless_a_rule_says_so(
    store: Store, index: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    file = locked(index, index.publish(demo))
    rule = Index(name="own", url=index.index_url, cache_control=CacheControl(files="max-age=5"))
    other = Index(name="x", url="http://x.test/", cache_control=CacheControl(files="max-age=9"))
    pages_only = replace(rule, cache_control=CacheControl(api="max-age=7"))
    cases: list[tuple[tuple[Index, ...], str]] = [
        ((), IMMUTABLE),
        ((other,), IMMUTABLE),
        ((pages_only,), IMMUTABLE),
        ((other, rule), "max-age=5"),
    ]

    for indexes, told in cases:
        with pull_of(store, tmp_path, *indexes) as pull:
            pull.know([file])
            assert sent_out(pull, file.url) == (demo.read_bytes(), told)


@pytest.mark.parametrize("hashed", [True, False], ids=["hashed", "unhashed"])
def test_a_failure_is_forgotten_once_the_client_got_the_file(
    hashed: bool,  # noqa: FBT001 - pytest gives it by name
    pull: Pull,
    demo: Path,
) -> None:
    with IndexSimulator(credentials=("someone", "secret")) as index:
        file = locked(index, index.publish(demo))
        if hashed:
            pull.know([file])

        status, headers, _ = got(pull, file.url)
        assert (status, "www-authenticate" in headers) == (401, True)
        assert [error.code for error in pull.failures] == ["refused-by-server"]

        allowed = {"authorization": basic("someone:secret")}
        assert got(pull, file.url, allowed)[2] == demo.read_bytes()
        assert pull.failures == ()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_is_asked_for_with_the_password_of_the_index_that_is_recorded_for_it(
    method: str, store: Store, demo: Path, tmp_path: Path
) -> None:
    users = ("one", "two")
    with IndexSimulator() as index:
        file = locked(index, index.publish(demo))
        logins = [Login(index=f"{index.url}/{user}", user=user, password="x") for user in users]  # noqa: S106 - a test's
        client = Http({"NETRC": str(tmp_path / "none")}, connections=4, logins=logins)
        pull = Pull(store, client, (), Quiet(), offline=False)
        pull.resolving = True
        pull.know([replace(file, index=f"{index.url}/two")])
        got(pull, file.url, method=method)
        client.close()
        assert [item.headers["authorization"] for item in index.requests] == [basic("two:x")]


def test_a_failure_of_another_file_is_not_forgotten(
    pull: Pull, index: IndexSimulator, tmp_path: Path
) -> None:
    good, bad = (
        locked(index, index.publish(make_wheel(tmp_path / "w", name, "1.0")))
        for name in ("good", "bad")
    )
    pull.know([good, bad])
    index.corrupt(bad.name)

    assert got(pull, bad.url)[0] == 424
    assert got(pull, good.url)[0] == 200

    assert [error.code for error in pull.failures] == ["wrong-hash"]


def test_damaged_blobs_are_named_and_dropped_and_fetched_again(
    pull: Pull, store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    files = [
        locked(index, index.publish(make_wheel(tmp_path / "w", name, "1.0"))) for name in NAMES[:4]
    ]
    pull.fetch(missing(*files))
    damaged, intact = files[:2], files[2:]
    for file in damaged:
        blob = store.blob(file.digest)
        blob.chmod(0o644)
        blob.write_bytes(b"\0" + blob.read_bytes()[1:])

    with pytest.raises(IntegrityError) as caught:
        pull.blame_blobs(files)

    assert (caught.value.exit_code, caught.value.code) == (4, "blob-damaged")
    assert len(caught.value.causes) == 2
    for file, cause in zip(damaged, caught.value.causes, strict=True):
        assert file.name in cause
        assert file.digest.hex in cause
    assert blobs(store) == {file.digest.hex for file in intact}
    pull.fetch(plan_fetch(files, store))
    pull.blame_blobs(files)


def test_a_blob_that_is_not_held_is_not_blamed(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    pull.blame_blobs([locked(index, index.publish(demo))])


# Policies, and files that are not the locked ones


def test_a_page_is_as_old_as_the_caches_on_its_way_say(pull: Pull, server: AnsweringServer) -> None:
    aged = {"Cache-Control": "max-age=600", "Age": "700", "ETag": '"1"'}
    server.served["/demo/"] = Served(b"page", {"Content-Type": "text/html", **aged})

    for _ in range(2):
        _, headers, _ = got(pull, f"{server.url}/demo/")
        assert int(headers["age"]) >= 700

    assert [headers.get("if-none-match") for _, _, headers in server.seen] == [None, '"1"']


def test_a_page_that_is_still_the_same_holds_as_long_as_it_says_now(
    pull: Pull, server: AnsweringServer
) -> None:
    page = {"Content-Type": "text/html", "ETag": '"1"'}
    for control in ("no-cache", "max-age=600", "max-age=600"):
        server.served["/demo/"] = Served(b"page", {**page, "Cache-Control": control})
        assert got(pull, f"{server.url}/demo/")[2] == b"page"

    # The second was asked for again and costs no body; then it does for ten minutes.
    assert [method for method, _, _ in server.seen] == ["GET", "GET"]


def test_a_rule_for_some_packages_leaves_the_pages_of_others_to_their_header(
    store: Store, index: IndexSimulator, tmp_path: Path
) -> None:
    for name in ("demo", "other"):
        index.publish(make_wheel(tmp_path / "w", name, "1.0"))
    rule = Index(
        name="own",
        url=index.index_url,
        packages=("dem*",),
        cache_control=CacheControl(api="max-age=600"),
    )
    with pull_of(store, tmp_path, rule) as pull:
        for _ in range(2):
            got(pull, page_url(index, "demo"))
            got(pull, page_url(index, "other"))

    paths = [request.path for request in index.requests]
    assert (paths.count("/demo/"), paths.count("/other/")) == (1, 2)
    assert [r.body_bytes > 0 for r in index.requests if r.path == "/other/"] == [True, False]


def test_other_bytes_of_a_locked_release_from_another_index_reach_no_client(
    pull: Pull, index: IndexSimulator, pypi: IndexSimulator, demo: Path, tmp_path: Path
) -> None:
    file = replace(locked(index, index.publish(demo)), index=index.index_url)
    other = pypi.publish(make_wheel(tmp_path / "other", "demo", "1.0", size=90_000))
    pull.know([file])
    assert got(pull, page_url(pypi, "demo"), JSON)[0] == 200

    status, _, body = got(pull, pypi.file_url(WHEEL))

    assert status == 424
    assert file.digest.hex.encode() in body
    assert other.sha256.encode() in body
    assert [error.exit_code for error in pull.failures] == [8]
    assert pypi.gets(WHEEL) == 0


def test_the_same_bytes_from_a_mirror_reach_a_client(
    pull: Pull, index: IndexSimulator, pypi: IndexSimulator, demo: Path
) -> None:
    pull.know([replace(locked(index, index.publish(demo)), index=index.index_url)])
    pypi.publish(demo)
    got(pull, page_url(pypi, "demo"), JSON)

    assert got(pull, pypi.file_url(WHEEL))[2] == demo.read_bytes()


def test_the_index_of_a_file_is_known_once_its_page_was_seen(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    assert pull.index_of(index.file_url(WHEEL)) is None
    got(pull, page_url(index, "demo"))

    assert pull.index_of(index.file_url(WHEEL)) == index.url


def test_a_page_that_several_ask_for_at_once_comes_once(
    pull: Pull, index: IndexSimulator, demo: Path
) -> None:
    index.publish(demo)
    index.delay("/demo/", 0.3)
    url = f"{index.index_url}demo/"
    with ThreadPoolExecutor(4) as pool:
        bodies = {page.body for _, page in pool.map(pull.page, [url] * 4)}
    assert len(bodies) == 1
    assert [request.status for request in index.requests].count(200) == 1
