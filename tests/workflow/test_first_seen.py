"""A file name that was seen before with other bytes is refused, and nothing is fetched."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._origin import Request
from provisioner.adapters.http import Http
from provisioner.core.digest import Digest
from provisioner.core.plan import FetchPlan, LockedFile, plan_fetch
from provisioner.errors import IntegrityError
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from provisioner.workflow.store_pin import store_forget
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel
from tests.workflow.stores import FilledStore
from tests.workflow.test_package_index import plain_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def filled(tmp_path: Path) -> FilledStore:
    """A store without anything."""
    (tmp_path / "machine").mkdir()
    return FilledStore(tmp_path / "machine")


@pytest.fixture
def pull(filled: FilledStore, tmp_path: Path) -> Iterator[Pull]:
    """What fetches into it."""
    client = Http({"NETRC": str(tmp_path / "none")}, connections=4)
    yield Pull(filled.store, client, (), Quiet(), offline=False)
    client.close()


def published(index: IndexSimulator, folder: Path, *, size: int) -> LockedFile:
    """A wheel of one name and as many bytes as wanted, as a lock of that day names it."""
    made = index.publish(make_wheel(folder / str(size), "demo", "1.0", size=size))
    return LockedFile(
        name=made.filename,
        url=index.file_url(made.filename),
        digest=Digest.parse(made.sha256),
        size=made.size,
        index=index.index_url,
    )


def fetch(pull: Pull, file: LockedFile) -> None:
    pull.fetch(plan_fetch([file], pull.ledger))


def test_a_name_with_other_bytes_is_refused_with_both_hashes(
    pull: Pull, filled: FilledStore, tmp_path: Path
) -> None:
    with IndexSimulator() as index:
        first = published(index, tmp_path, size=1000)
        fetch(pull, first)
        second = published(index, tmp_path, size=2000)
        index.reset_log()

        with pytest.raises(IntegrityError) as caught:
            fetch(pull, second)

        assert (caught.value.exit_code, caught.value.code) == (4, "file-changed")
        (cause,) = caught.value.causes
        assert first.digest.hex in cause
        assert second.digest.hex in cause
        assert f"`{WHEEL}`" in cause
        assert caught.value.hint is not None
        assert f"`gpuenv store forget {WHEEL}`" in caught.value.hint
        assert index.requests == []
        assert filled.held() == {first.digest}


def test_a_file_has_the_name_that_its_index_tells_whatever_its_url_ends_with(
    pull: Pull, filled: FilledStore, tmp_path: Path
) -> None:
    named = []
    for size in (1000, 2000):
        path = make_wheel(tmp_path / str(size), "demo", "1.0", size=size)
        path.rename(tmp_path / f"download-{size}")
        digest = Digest(hashlib.sha256((tmp_path / f"download-{size}").read_bytes()).hexdigest())
        named.append((f"download-{size}", digest))
    with plain_server(tmp_path) as server:
        at = server.index_url
        first, second = (
            LockedFile(name=WHEEL, url=f"{at}{url}", digest=digest, size=None, index=at)
            for url, digest in named
        )
        fetch(pull, first)
        with pytest.raises(IntegrityError) as caught:
            fetch(pull, second)
    assert caught.value.code == "file-changed"
    assert (filled.store.root / "simple" / "demo" / WHEEL).is_symlink()


def test_a_client_of_the_gateway_does_not_get_it_either(pull: Pull, tmp_path: Path) -> None:
    with IndexSimulator() as index:
        fetch(pull, published(index, tmp_path, size=1000))
        second = published(index, tmp_path, size=2000)
        pull.know([second])
        index.reset_log()

        request = Request(method="GET", url=second.url, headers={})
        with pull.answer(request) as reply:
            assert getattr(reply, "status", None) == 424
        assert [error.code for error in pull.failures] == ["file-changed"]
        assert index.requests == []


def test_a_changed_name_is_refused_though_its_bytes_are_held(
    pull: Pull, filled: FilledStore, tmp_path: Path
) -> None:
    with IndexSimulator() as index:
        fetch(pull, published(index, tmp_path, size=1000))
    other = filled.blob(WHEEL, url="https://elsewhere.test/demo.whl")
    file = replace(filled.locked(WHEEL, other), url=index.file_url(WHEEL), index=index.index_url)

    with pytest.raises(IntegrityError):
        pull.fetch(FetchPlan(missing=(), held=(file,)))


def test_the_same_name_of_another_index_is_another_file(
    pull: Pull, filled: FilledStore, tmp_path: Path
) -> None:
    with IndexSimulator() as one, IndexSimulator() as other:
        files = [published(one, tmp_path, size=1000), published(other, tmp_path, size=2000)]
        for file in files:
            fetch(pull, file)

    assert filled.held() == {file.digest for file in files}


def test_after_it_was_forgotten_the_new_file_comes_and_the_old_one_stays(
    pull: Pull, filled: FilledStore, tmp_path: Path
) -> None:
    with IndexSimulator() as index:
        first = published(index, tmp_path, size=1000)
        fetch(pull, first)
        second = published(index, tmp_path, size=2000)

        forgotten = store_forget(filled.world, filled.options, [WHEEL]).forgotten
        fetch(pull, second)

        assert [seen.digest for seen in forgotten] == [first.digest]
        assert filled.held() == {first.digest, second.digest}
        with pytest.raises(IntegrityError):
            fetch(pull, replace(first, digest=Digest.parse("ab" * 32)))


def test_a_file_that_did_not_arrive_was_not_seen(pull: Pull, tmp_path: Path) -> None:
    with IndexSimulator() as index:
        file = published(index, tmp_path, size=1000)
        index.corrupt(WHEEL)
        with pytest.raises(IntegrityError) as caught:
            fetch(pull, file)
        assert caught.value.code == "wrong-hash"
        second = published(index, tmp_path, size=2000)
        index.heal()

        fetch(pull, second)

        assert second.digest in pull.store
