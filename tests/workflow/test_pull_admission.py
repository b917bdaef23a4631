"""The gateway answers for indexes that count and what they name, and for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.gateway import BodyAnswer, Request
from provisioner.adapters.http import Http
from provisioner.adapters.store import Store
from provisioner.core.admission import Admission
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile
from provisioner.errors import PolicyError
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index whose files lie beside its pages."""
    with IndexSimulator("pypi") as server:
        server.publish(make_wheel(tmp_path, "demo", "1.0"))
        yield server


@pytest.fixture
def pull(tmp_path: Path, index: IndexSimulator) -> Iterator[Pull]:
    """What answers for that index alone."""
    store = Store(tmp_path / "store")
    store.open()
    http = Http({}, connections=4)
    made = Pull(store, http, (), Quiet(), offline=False)
    made.restrict(Admission().with_places([index.index_url]))
    yield made
    made.close()
    http.close()


def status_of(pull: Pull, url: str, method: str = "GET") -> int:
    """The status of an answer; 200 for a file."""
    with pull.answer(Request(method=method, url=url, headers={})) as reply:
        return getattr(reply, "status", 200)


def test_pages_below_the_index_and_what_they_name_are_answered(
    pull: Pull, index: IndexSimulator
) -> None:
    assert status_of(pull, f"{index.index_url}demo/") == 200
    assert status_of(pull, f"{index.file_url(WHEEL)}.metadata") == 200
    assert status_of(pull, index.file_url(WHEEL)) == 200
    assert pull.refusal() is None


def test_a_file_is_looked_up_where_a_client_has_kept_its_page(
    pull: Pull, index: IndexSimulator
) -> None:
    assert status_of(pull, index.file_url(WHEEL), "HEAD") == 200
    assert status_of(pull, index.file_url(WHEEL)) == 200
    assert [r.path for r in index.requests if r.filename != WHEEL] == ["/simple/demo/"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    ["", "other/", "simple/../other", "simple/%2e%2e/other", "files/demo-9.0-py3-none-any.whl"],
)
def test_what_no_index_names_is_refused_and_asked_of_nobody(
    path: str, method: str, pull: Pull, index: IndexSimulator
) -> None:
    url = f"{index.url}/{path}"

    assert status_of(pull, url, method) == 403

    assert url.removeprefix(index.url) not in {request.path for request in index.requests}
    refusal = pull.refusal()
    assert isinstance(refusal, PolicyError)
    assert (refusal.exit_code, refusal.code) == (8, "not-admitted")
    assert refusal.causes == (f"`{url}` was refused",)
    assert refusal.hint
    assert pull.failures == ()


def test_an_index_that_is_admitted_later_is_answered_for(pull: Pull, index: IndexSimulator) -> None:
    pull.restrict(Admission())
    assert status_of(pull, f"{index.index_url}demo/") == 403
    pull.admit([index.index_url])
    assert status_of(pull, f"{index.index_url}demo/") == 200


def test_a_file_that_a_lock_names_is_answered_and_so_is_its_index(
    pull: Pull, index: IndexSimulator, tmp_path: Path
) -> None:
    pull.restrict(Admission())
    import hashlib

    content = next(tmp_path.glob("*.whl")).read_bytes()
    pull.know(
        [
            LockedFile(
                name=WHEEL,
                url=index.file_url(WHEEL),
                digest=Digest(hashlib.sha256(content).hexdigest()),
                size=None,
                index=index.index_url,
            )
        ]
    )
    assert status_of(pull, index.file_url(WHEEL)) == 200
    assert status_of(pull, f"{index.index_url}demo/") == 200


def test_while_resolving_a_dependency_may_be_a_url_over_https_and_no_other(pull: Pull) -> None:
    pull.resolving = True
    https = status_of(pull, "https://127.0.0.1:9/demo-1.0-py3-none-any.whl")
    http = status_of(pull, "http://127.0.0.1:9/demo-1.0-py3-none-any.whl")
    assert (https, http) == (424, 403)


def test_where_an_index_leads_elsewhere_that_page_counts_too(
    pull: Pull, index: IndexSimulator
) -> None:
    url = f"{index.index_url}Demo/"
    with pull.answer(Request(method="GET", url=url, headers={})) as reply:
        assert isinstance(reply, BodyAnswer)
        led = reply.headers["location"]
    pull.restrict(Admission().with_urls([led]))
    assert status_of(pull, led) == 200
    assert status_of(pull, f"{index.index_url}helper/") == 403


def test_after_a_redirect_the_target_is_admitted_by_itself(
    pull: Pull, index: IndexSimulator
) -> None:
    with pull.answer(Request(method="GET", url=f"{index.index_url}Demo/", headers={})) as reply:
        assert isinstance(reply, BodyAnswer)
        assert reply.status == 302
        led = reply.headers["location"]
    assert status_of(pull, led) == 200
