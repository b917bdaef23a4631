"""What is said of a URL: what it stands for, the header, the rule, and what follows."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._origin import Request
from provisioner.adapters.http import Http
from provisioner.cli.store_policy import render_policy
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile, plan_fetch
from provisioner.errors import ProfileError, UsageError
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from provisioner.workflow.store_policy import PolicyResult, store_policy
from provisioner.workflow.world import Options, World
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHEEL = "demo-1.0-py3-none-any.whl"


class Asking:
    """A user in a folder, and the store beside it."""

    def __init__(self, root: Path) -> None:
        from provisioner.adapters.store import Store

        self.folder = root / "work"
        self.folder.mkdir()
        self.root = root
        self.store = Store(root / "store")
        self.store.open()

    def ask(
        self, url: str, *, offline: bool = False, profile: str | None = None, **variables: str
    ) -> PolicyResult:
        """What is said of a URL, which can be shown in both forms."""
        world = World(
            variables={"NETRC": str(self.root / "no-netrc"), **variables},
            home=self.root,
            folder=self.folder,
            now=time.time,
        )
        options = Options(store=self.store.root, offline=offline, profile=profile)
        found = store_policy(world, options, url)
        shown = render_policy(found)
        assert found.policy.cache_control in shown
        assert found.policy.because in shown
        assert found.to_json()["policy"]["because"] == found.policy.because
        return found

    @contextmanager
    def pull(self) -> Iterator[Pull]:
        """What fetches into the store."""
        client = Http({"NETRC": str(self.root / "no-netrc")}, connections=4)
        try:
            yield Pull(self.store, client, (), Quiet(), offline=False)
        finally:
            client.close()

    def serve(self, *urls: str) -> None:
        """Let a client have asked for URLs."""
        with self.pull() as pull:
            for url in urls:
                with pull.answer(Request(method="GET", url=url, headers={})):
                    pass


@pytest.fixture
def user(tmp_path: Path) -> Asking:
    """A user whose store is empty."""
    return Asking(tmp_path)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index in the manner of NVIDIA's, with one wheel."""
    with IndexSimulator() as started:
        started.publish(make_wheel(tmp_path / "wheels", "demo", "1.0"))
        yield started


@pytest.mark.parametrize(
    "url",
    ["", "demo", "file:///srv/demo.whl", "https://", "http://:80/", "https://[bad/", "ftp://a/"],
)
def test_what_is_no_url_of_an_index_is_a_wrong_use(url: str, user: Asking) -> None:
    with pytest.raises(UsageError):
        user.ask(url)


def test_a_profile_that_is_not_known_is_a_wrong_use(user: Asking) -> None:
    with pytest.raises(ProfileError, match="no-such"):
        user.ask("https://pypi.org/simple/demo/", offline=True, profile="no-such")


def test_a_page_that_was_kept_is_explained_without_asking_anybody(
    user: Asking, index: IndexSimulator
) -> None:
    url = f"{index.index_url}demo/"
    user.serve(url)
    index.reset_log()

    found = user.ask(url)

    assert index.requests == []
    assert (found.header.known, found.header.value) == ("kept", "max-age=0, no-cache, no-store")
    assert found.header.etag
    assert found.age is not None
    assert (found.policy.lifetime, found.policy.rule) == (0, None)
    assert "revalidated by its ETag each time" in render_policy(found)


def test_a_page_that_was_not_kept_is_asked_for_by_its_head(
    user: Asking, index: IndexSimulator
) -> None:
    found = user.ask(f"{index.index_url}demo/")

    assert [request.method for request in index.requests] == ["HEAD"]
    assert (found.header.known, found.header.value) == ("asked", "max-age=0, no-cache, no-store")
    assert found.age is None


def test_offline_nobody_is_asked_and_that_is_said(user: Asking, index: IndexSimulator) -> None:
    found = user.ask(f"{index.index_url}demo/", offline=True)

    assert index.requests == []
    assert (found.header.known, found.header.when) == ("unknown", None)
    assert "--offline" in (found.header.words or "")


def test_an_index_that_cannot_be_reached_is_part_of_the_explanation(user: Asking) -> None:
    found = user.ask("http://127.0.0.1:9/simple/demo/")
    refused = user.ask("http://me:secret@index.test/simple/demo/")

    assert found.header.known == refused.header.known == "unknown"
    assert "asking failed" in (found.header.words or "")
    assert "without encryption" in (refused.header.words or "")
    assert "UV_INSECURE_HOST=index.test" in (refused.header.words or "")
    assert "secret" not in render_policy(refused) + str(refused.to_json())


def test_a_refusal_of_the_index_is_told_and_is_no_header(
    user: Asking, index: IndexSimulator
) -> None:
    found = user.ask(f"{index.index_url}missing/")

    assert (found.header.known, found.header.value) == ("asked", "")
    assert "404" in (found.header.words or "")


def test_the_rule_of_the_project_is_stronger_than_that_of_a_profile_and_than_ours(
    user: Asking,
) -> None:
    url = "https://pypi.nvidia.com/tensorrt/"
    assert user.ask("https://pypi.nvidia.com/numpy/", offline=True).policy.rule is not None
    ours = user.ask("https://pypi.nvidia.com/numpy/", offline=True).to_json()["rule"]
    assert ours["origin"] == "gpuenv's defaults"
    profile = user.ask(url, offline=True, profile="cu12").to_json()["rule"]
    assert profile["origin"].startswith("profile `cu12`")
    assert profile["packages"] == ["tensorrt*"]

    (user.folder / "uv.toml").write_text(
        '[[index]]\nname = "own"\nurl = "https://me:secret@pypi.nvidia.com"\n'
        'cache-control = { api = "max-age=5" }\n',
        encoding="utf-8",
    )
    found = user.ask(url, offline=True)

    assert found.policy.lifetime == 5
    own = found.to_json()["rule"]
    assert (own["index"], own["api"], own["files"]) == ("own", "max-age=5", None)
    assert str(user.folder / "uv.toml") in own["origin"]
    assert "secret" not in str(found.to_json()) + render_policy(found)


def test_a_rule_that_several_profiles_have_is_told_with_all_of_them(user: Asking) -> None:
    rule = user.ask("https://pypi.nvidia.com/tensorrt-cu12/", offline=True).to_json()["rule"]
    assert all(f"profile `{name}`" in rule["origin"] for name in ("cu11", "cu12", "cu13"))
    url = "https://download.pytorch.org/whl/cu126/torch/"
    only = user.ask(url, offline=True).to_json()["rule"]
    assert only["origin"].startswith("profile `cu126`")
    assert only["origin"].count("profile `") == 1


def test_the_index_of_pypi_is_told_as_people_name_it(user: Asking) -> None:
    found = user.ask("https://pypi.org/simple/demo/", offline=True)
    assert found.index is not None
    assert found.index.url == "https://pypi.org/simple/"


def test_a_file_that_came_with_a_hash_is_kept_for_good_and_told_with_it(
    user: Asking, index: IndexSimulator
) -> None:
    listed = index.publish(make_wheel(user.root / "w", "demo", "1.0", size=5000))
    file = LockedFile(
        name=WHEEL,
        url=index.file_url(WHEEL),
        digest=Digest.parse(listed.sha256),
        size=None,
        index=index.index_url,
    )
    with user.pull() as pull:
        pull.fetch(plan_fetch([file], ()))

    found = user.ask(index.file_url(WHEEL), offline=True)

    assert found.subject.is_hashed
    assert found.policy.is_immutable
    assert (found.held.sha256, found.held.bytes) == (listed.sha256, listed.size)
    assert found.held.first_seen is not None
    assert found.held.first_seen.digest == file.digest
    assert found.named_by == "it came from there"
    assert listed.sha256 in render_policy(found)


def test_a_file_that_a_kept_page_names_has_a_hash_although_it_never_came(
    user: Asking, index: IndexSimulator
) -> None:
    user.serve(f"{index.index_url}demo/")

    found = user.ask(index.file_url(WHEEL), offline=True)

    assert (found.policy.is_immutable, found.held.sha256) == (True, None)
    assert found.held.first_seen is None
    assert found.named_by == "a page of it names the file"
    assert found.index is not None
    assert "held:   no" in render_policy(found)


def test_a_file_that_nothing_names_with_a_hash_is_compared_each_time(
    user: Asking, index: IndexSimulator
) -> None:
    user.serve(index.file_url(WHEEL))

    found = user.ask(index.file_url(WHEEL))

    assert not found.policy.is_immutable
    assert found.header.known == "kept"
    assert found.held.sha256 is not None
    assert "asked for its ETag each time" in render_policy(found)


def test_an_index_that_only_a_variable_names_is_found_without_a_rule(user: Asking) -> None:
    found = user.ask(
        "https://corp.test/simple/demo/", offline=True, UV_INDEX="corp=https://corp.test/simple"
    )

    assert found.index is not None
    assert (found.index.url, found.policy.rule) == ("https://corp.test/simple", None)
    assert found.named_by == "its URL lies below it"
