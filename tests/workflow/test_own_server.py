"""Settings that lead to the `gpuenv serve` of the very store that is served or filled."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.projects import read_place
from provisioner.adapters.serving import Server, announced, find_server, listening
from provisioner.adapters.store import Store
from provisioner.core.routes import PYPI
from provisioner.core.urls import without_secrets
from provisioner.errors import GpuenvError
from provisioner.workflow.client_variables import serve_variables
from provisioner.workflow.index_routes import routes_of
from provisioner.workflow.own_server import past_own_server
from provisioner.workflow.world import World
from tests.workflow.stores import FilledStore, Notes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORP = "https://corp.test/simple/"
OWN = "http://127.0.0.1:8199/simple/"


class Answering(http.server.BaseHTTPRequestHandler):
    """A server that says it is one of ours."""

    server_version = "gpuenv/0"
    asked = 0

    def do_HEAD(self) -> None:
        """Say so."""
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
        """Keep quiet."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """That of a server of the store."""
    Answering.asked = 0
    with http.server.HTTPServer(("0.0.0.0", 0), Answering) as server:  # noqa: S104
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Store(tmp_path / "store").open()
        with announced(tmp_path / "store", told(server.server_port, PYPI)):
            yield server.server_port
        server.shutdown()


def told(port: int, *indexes: str) -> Server:
    """What a server of every address tells of itself."""
    return Server(
        url=f"http://127.0.0.1:{port}/simple/",
        indexes=tuple(map(without_secrets, indexes)),
        names=frozenset({"localhost", "store.test"}),
        is_everywhere=True,
    )


def world_of(tmp_path: Path, pip_index: str = "", **variables: str) -> World:
    """A user whose `pip.conf` may name an index."""
    home = tmp_path / "home"
    (home / ".pip").mkdir(parents=True, exist_ok=True)
    text = f"[global]\nindex-url = {pip_index}\n" if pip_index else ""
    (home / ".pip" / "pip.conf").write_text(text)
    made = {"XDG_CONFIG_DIRS": str(home / "none"), **variables}
    return World(variables=made, home=home, folder=tmp_path, now=time.time)


def past(world: World, tmp_path: Path, *, offline: bool = False) -> dict[str, str]:
    place = read_place(tmp_path, is_project=(tmp_path / "pyproject.toml").exists())
    store = Store(tmp_path / "store")
    found = past_own_server(world, store, place, offline=offline).variables
    return {name: value for name, value in found.items() if name != "XDG_CONFIG_DIRS"}


def test_variables_that_lead_to_the_server_of_the_store_are_not_there(
    tmp_path: Path, port: int
) -> None:
    url = f"http://localhost:{port}/simple/"
    given = {"PIP_INDEX_URL": url, "WHEEL_STUB_PIP_INDEX_URL": url}
    assert past(world_of(tmp_path, **given), tmp_path) == {"PIP_INDEX_URL": PYPI}
    assert past(world_of(tmp_path, CORP, **given), tmp_path) == {"PIP_INDEX_URL": CORP}
    other = {"PIP_INDEX_URL": CORP, "WHEEL_STUB_PIP_INDEX_URL": f"http://localhost:{port + 1}/"}
    assert past(world_of(tmp_path, url, **other), tmp_path) == other


def test_what_the_server_asks_counts_where_pip_has_nothing_else(tmp_path: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}/simple/"
    world = world_of(tmp_path, url)
    other = "https://u:secret@other.test/simple/"
    with announced(tmp_path / "store", told(port, other)):
        assert past(world, tmp_path) == {"PIP_INDEX_URL": "https://other.test/simple/"}
    with announced(tmp_path / "store", told(port, CORP, other)):
        with pytest.raises(GpuenvError, match="further indexes") as raised:
            past(world, tmp_path)
        assert raised.value.causes == (f"it asks `{CORP}`",)
        known = world_of(tmp_path, url, UV_INDEX=CORP)
        assert past(known, tmp_path)["PIP_INDEX_URL"] == "https://other.test/simple/"


def test_uv_may_not_be_set_to_the_server_of_the_store(tmp_path: Path, port: int) -> None:
    world = world_of(tmp_path, UV_DEFAULT_INDEX=f"http://a:secret@127.0.0.1:{port}/simple/")
    with pytest.raises(GpuenvError, match="uv is set to") as raised:
        past(world, tmp_path)
    assert "secret" not in "".join(raised.value.causes)


def test_the_server_is_known_by_every_address_of_its_machine(tmp_path: Path, port: int) -> None:
    world = world_of(tmp_path, PIP_INDEX_URL=f"http://u:p@127.0.0.2:{port}/simple/")
    assert past(world, tmp_path) == {"PIP_INDEX_URL": PYPI}


def test_only_what_leads_to_the_server_asks_it_and_nothing_offline(
    tmp_path: Path, port: int
) -> None:
    other = {"PIP_INDEX_URL": CORP, "WHEEL_STUB_PIP_INDEX_URL": f"http://other.test:{port}/"}
    assert past(world_of(tmp_path, **other), tmp_path, offline=True) == other
    assert past(world_of(tmp_path, PIP_INDEX_URL=CORP), tmp_path) == {"PIP_INDEX_URL": CORP}
    for host in ("localhost", "127.0.0.2", "store.test"):
        url = f"http://{host}:{port}/simple/"
        given = {"PIP_INDEX_URL": url, "WHEEL_STUB_PIP_INDEX_URL": url}
        assert past(world_of(tmp_path, **given), tmp_path, offline=True) == {"PIP_INDEX_URL": PYPI}
    assert Answering.asked == 0


def test_a_server_that_runs_no_more_changes_no_setting(tmp_path: Path) -> None:
    Store(tmp_path / "store").open()
    with listening("127.0.0.1", 0) as listener:
        server = listener.server()
    with announced(tmp_path / "store", server):
        given = {"PIP_INDEX_URL": server.url}
        assert past(world_of(tmp_path, **given), tmp_path) == given


def test_pips_index_is_asked_by_nobody_in_a_project_of_uv(tmp_path: Path, port: int) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1"\n[tool.uv]\n')
    world = world_of(tmp_path, f"http://127.0.0.1:{port}/simple/")
    with announced(tmp_path / "store", told(port, CORP, PYPI)):
        assert past(world, tmp_path) == {"PIP_INDEX_URL": PYPI}


def test_without_a_server_every_setting_counts(tmp_path: Path) -> None:
    Store(tmp_path / "store").open()
    given = {"PIP_INDEX_URL": OWN, "UV_DEFAULT_INDEX": OWN}
    assert past(world_of(tmp_path, **given), tmp_path) == given


def order(world: World, *named: str) -> tuple[str, ...]:
    place = read_place(world.folder, is_project=False)
    return routes_of(world, place, (), lambda url: ":8199/" in url, named).order


def test_serve_asks_what_was_named_before_it_and_never_makes_an_index_up(tmp_path: Path) -> None:
    assert order(world_of(tmp_path)) == (PYPI,)
    assert order(world_of(tmp_path, CORP, PIP_INDEX_URL=OWN)) == (CORP,)
    for of_pip, variables in ((OWN, {}), ("", {"UV_DEFAULT_INDEX": OWN})):
        world = world_of(tmp_path, of_pip, **variables)
        with pytest.raises(GpuenvError) as raised:
            order(world)
        assert "--index" in (raised.value.hint or "")
        assert order(world, CORP, PYPI) == (CORP, PYPI)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://localhost:{}/simple/", True),
        ("http://u:p@127.0.0.1:{}/simple/", True),
        ("http://store.test:{}/", True),
        ("http://[::1]:{}/", False),
        ("http://corp.test.invalid:{}/", False),
        ("http://localhost/simple/", False),
        ("http://localhost:{}0/", False),
        ("http://localhost:x/", False),
    ],
)
def test_a_server_knows_itself_by_every_name(url: str, own: bool) -> None:  # noqa: FBT001
    with listening("127.0.0.1", 0) as listener:
        assert listener.server(["store.test"]).is_own(url.format(listener.port)) is own


def test_a_server_of_every_address_knows_those_of_its_machine() -> None:
    with listening("0.0.0.0", 0) as listener:  # noqa: S104
        server = listener.server()
        assert server.is_own(f"http://127.0.0.2:{listener.port}/")
        assert server.is_own(f"http://{socket.gethostname()}:{listener.port}/")
        assert not server.is_own(f"http://192.0.2.1:{listener.port}/")


def test_a_server_that_still_runs_is_found_again_when_a_later_one_ends(
    tmp_path: Path, port: int
) -> None:
    store = tmp_path / "store"
    first = f"http://127.0.0.1:{port}/simple/"
    with announced(store, Server(url="http://127.0.0.1:1/simple/")):
        assert find_server(store) is None
    found = find_server(store)
    assert found is not None
    assert found.url == first


@pytest.mark.parametrize("has_token", [False, True])
def test_who_is_pointed_at_a_server_is_told_that_it_asks_for_its_token(
    tmp_path: Path, port: int, *, has_token: bool
) -> None:
    filled, notes = FilledStore(tmp_path), Notes()
    world = replace(filled.world, progress=notes)
    with announced(tmp_path / "store", replace(told(port), has_token=has_token)):
        serve_variables(world, filled.options, url=None, token=None, uv=False)
        assert any("asks for its token" in note for note in notes.told) is has_token
        notes.told.clear()
        serve_variables(world, filled.options, url=None, token="known", uv=False)  # noqa: S106
    assert notes.told == []
