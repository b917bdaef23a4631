"""Settings that lead to the `gpuenv serve` of the very store that is served or filled."""

from __future__ import annotations

import http.server
import threading
import time
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.projects import read_place
from provisioner.adapters.serving import announced, listening
from provisioner.adapters.store import Store
from provisioner.core.routes import PYPI
from provisioner.errors import GpuenvError
from provisioner.workflow.index_routes import routes_of
from provisioner.workflow.own_server import past_own_server
from provisioner.workflow.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORP = "https://corp.test/simple/"
OWN = "http://127.0.0.1:8199/simple/"


class Answering(http.server.BaseHTTPRequestHandler):
    """A server that says it is one of ours."""

    server_version = "gpuenv/0"

    def do_HEAD(self) -> None:
        """Say so."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
        """Keep quiet."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """That of a server of the store."""
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Store(tmp_path / "store").open()
        url = f"http://127.0.0.1:{server.server_port}/simple/"
        with announced(tmp_path / "store", url, [PYPI]):
            yield server.server_port
        server.shutdown()


def world_of(tmp_path: Path, pip_index: str = "", **variables: str) -> World:
    """A user whose `pip.conf` may name an index."""
    home = tmp_path / "home"
    (home / ".pip").mkdir(parents=True, exist_ok=True)
    text = f"[global]\nindex-url = {pip_index}\n" if pip_index else ""
    (home / ".pip" / "pip.conf").write_text(text)
    made = {"XDG_CONFIG_DIRS": str(home / "none"), **variables}
    return World(variables=made, home=home, folder=tmp_path, now=time.time)


def past(world: World, tmp_path: Path) -> dict[str, str]:
    place = read_place(tmp_path, is_project=(tmp_path / "pyproject.toml").exists())
    found = past_own_server(world, Store(tmp_path / "store"), place).variables
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
    with announced(tmp_path / "store", url, [other]):
        assert past(world, tmp_path) == {"PIP_INDEX_URL": "https://other.test/simple/"}
    with announced(tmp_path / "store", url, [CORP, other]):
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
        assert listener.is_own(url.format(listener.port), ["store.test"]) is own


def test_a_server_of_every_address_knows_those_of_its_machine() -> None:
    with listening("0.0.0.0", 0) as listener:  # noqa: S104
        assert listener.is_own(f"http://127.0.0.2:{listener.port}/")
        assert not listener.is_own(f"http://192.0.2.1:{listener.port}/")
