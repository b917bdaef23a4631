"""A user who reaches indexes through a proxy of their own."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._origin import RelayAnswer
from provisioner.adapters.certificates import CertificateAuthority
from provisioner.adapters.gateway import Gateway
from provisioner.adapters.http import Http
from tests.cli.projects import TARGET, downloads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.adapters._origin import Reply, Request
    from tests.cli.machine import Machine
    from tests.simulators.index import IndexSimulator


class Passing:
    """A proxy's inside: passes everything on, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._http = Http({}, connections=16)

    @contextmanager
    def answer(self, request: Request) -> Iterator[Reply]:
        self.asked.append(request.url)
        with self._http.get(request.url, request.headers, method=request.method) as answer:
            yield RelayAnswer(status=answer.status, headers=answer.headers, blocks=answer.blocks)

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def passing() -> Iterator[Passing]:
    inside = Passing()
    yield inside
    inside.close()


@pytest.mark.parametrize("where", ["variable", "settings"])
def test_behind_a_proxy_of_the_user_every_file_still_comes_once(
    machine: Machine, app: Path, index: IndexSimulator, passing: Passing, where: str
) -> None:
    with Gateway(passing, CertificateAuthority()) as proxy:
        url = proxy.variables["HTTP_PROXY"]
        given = {"NO_PROXY": "", "no_proxy": ""}
        if where == "variable":
            given["http_proxy"] = url
        else:
            settings = Path(machine.variables()["XDG_CONFIG_HOME"]) / "uv" / "uv.toml"
            settings.parent.mkdir(parents=True)
            settings.write_text(f'http-proxy = "{url}"\n', encoding="utf-8")
        done = machine.gpuenv(app, "prepare", "--target", TARGET, given=given)

    assert done.code == 0, done.err
    fetched = downloads(index)
    assert fetched
    assert set(fetched.values()) == {1}
    # Nothing went past the user's proxy either.
    assert {request.path for request in index.requests} == {
        url.removeprefix(index.url) for url in passing.asked
    }
