"""Who may ask `gpuenv serve`."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.access import Access

OURS = Access(names=frozenset({"127.0.0.1", "localhost", "::1"}))
TOKEN = "secret-of-ours"  # noqa: S105 - of no real server
GUARDED = Access(names=OURS.names, token=TOKEN)


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def status(access: Access, method: str = "GET", **headers: str) -> int | None:
    refusal = access.refusal(method, {"host": "localhost:8199", **headers})
    return refusal.status if refusal else None


@pytest.mark.parametrize("host", ["127.0.0.1:8199", "localhost", "LOCALHOST:1", "[::1]:8199"])
def test_the_server_is_asked_by_its_own_names(host: str) -> None:
    assert status(OURS, host=host) is None


@pytest.mark.parametrize(
    "host", ["", "evil.test", "evil.test:8199", "localhost.evil.test", "10.0.0.1", "a@[", "[::1"]
)
def test_a_strangers_name_for_it_is_refused(host: str) -> None:
    assert status(OURS, host=host) == 421


def test_a_server_at_every_address_is_asked_by_any_address_and_by_no_strange_name() -> None:
    everywhere = Access(names=frozenset({"build"}), any_address=True, token=TOKEN)
    assert status(everywhere, host="10.0.0.1:8199") == 401
    assert status(everywhere, host="build:8199") == 401
    assert status(everywhere, host="evil.test") == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    refusal = OURS.refusal(method, {"host": "localhost"})
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (405, {"Allow": "GET, HEAD"})


@pytest.mark.parametrize(
    "given_", [basic(f"gpuenv:{TOKEN}"), basic(f":{TOKEN}"), f"Bearer {TOKEN}", f"bearer  {TOKEN}"]
)
def test_the_token_counts_with_any_user(given_: str) -> None:
    assert status(GUARDED, authorization=given_) is None


@pytest.mark.parametrize(
    "given_",
    ["", TOKEN, "Basic", "Basic !", basic(TOKEN), basic(f"{TOKEN}:"), f"Digest {TOKEN}", "Bearer"],
)
def test_without_the_token_there_is_a_challenge(given_: str) -> None:
    refusal = GUARDED.refusal("GET", {"host": "localhost", "authorization": given_})
    assert refusal is not None
    assert refusal.status == 401
    assert refusal.headers["WWW-Authenticate"].startswith("Basic ")


@given(st.text(), st.text())
def test_nobody_gets_in_by_chance(host: str, authorization: str) -> None:
    assert GUARDED.refusal("GET", {"host": host, "authorization": authorization}) is not None


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(GUARDED)
