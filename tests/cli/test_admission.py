"""A build that wants something from the network that is no package of the project's indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.projects import TARGET, Project
from tests.cli.test_projects import write_member
from tests.simulators.index import IndexSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Locker
    from tests.cli.machine import Machine

BACKEND = """\
import urllib.request
from tinybuild import *
from tinybuild import build_wheel as _build_wheel

def build_wheel(*words):
    try:
        urllib.request.urlopen("{url}").read()
    except OSError:
        if {insists}:
            raise
    return _build_wheel(*words)
"""


def project_that_downloads(
    folder: Path, index: IndexSimulator, locker: Locker, url: str, *, insists: bool
) -> Path:
    """A project with a local package whose build downloads something."""
    project = Project(
        lines=("cu13",),
        packages=("lean",),
        dependencies=("common", "local"),
        more='\n[tool.uv.sources]\nlocal = { path = "local" }\n',
    )
    app = project.write(folder / "app", index.index_url)
    write_member(app / "local", "local")
    manifest = app / "local" / "pyproject.toml"
    text = manifest.read_text(encoding="utf-8").replace(
        'build-backend = "tinybuild"', 'build-backend = "backend"\nbackend-path = ["."]'
    )
    manifest.write_text(text, encoding="utf-8")
    locker.lock(app)
    backend = BACKEND.format(url=url, insists=insists)
    (app / "local" / "backend.py").write_text(backend, encoding="utf-8")
    return app


@pytest.fixture
def elsewhere() -> Iterator[IndexSimulator]:
    """A server that is no index of the project."""
    with IndexSimulator() as server:
        yield server


WORDS = ("prepare", "--only", "--no-proof", "--target", TARGET)


def test_a_build_that_needs_it_is_8_and_names_the_url(
    machine: Machine,
    tmp_path: Path,
    index: IndexSimulator,
    elsewhere: IndexSimulator,
    locker: Locker,
) -> None:
    url = f"{elsewhere.url}/model.bin"
    app = project_that_downloads(tmp_path, index, locker, url, insists=True)
    done = machine.gpuenv(app, *WORDS)
    assert done.code == 8, done.err
    assert done.message.error == "a build asked for what is no package of an index in use"
    assert done.message.causes[0] == f"`{url}` was refused"
    assert any("403" in cause for cause in done.message.causes)
    assert done.message.hint
    assert elsewhere.requests == []


def test_a_build_that_does_without_it_goes_on_and_that_is_said(
    machine: Machine,
    tmp_path: Path,
    index: IndexSimulator,
    elsewhere: IndexSimulator,
    locker: Locker,
) -> None:
    url = f"{elsewhere.url}/model.bin"
    app = project_that_downloads(tmp_path, index, locker, url, insists=False)
    done = machine.gpuenv(app, *WORDS)
    assert done.code == 0, done.err
    assert f"`{url}` was refused" in done.err
    assert elsewhere.requests == []


def test_a_git_that_fails_is_the_error_and_not_what_uv_asked_github_before(
    machine: Machine, tmp_path: Path, index: IndexSimulator
) -> None:
    source = '\n[tool.uv.sources]\nother = { git = "https://github.com/nobody/other" }\n'
    project = Project(lines=("cu13",), packages=("lean",), dependencies=("other",), more=source)
    app = project.write(tmp_path / "app", index.index_url)
    given = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "url.http://127.0.0.1:9/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    done = machine.gpuenv(app, *WORDS, given=given)
    assert done.code == 1
    assert done.message.error == "uv could not lock the project"
    assert any("git" in cause for cause in done.message.causes)
    assert "refused" not in done.err
