"""`prepare --proof` lets poetry toggle, too, with what `gpuenv serve` would have for it."""

from __future__ import annotations

import os
import socket
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.projects import TARGET, WHEELS
from tests.simulators.poetry import write_poetry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.machine import Machine
    from tests.simulators.index import IndexSimulator

WORDS = ("prepare", "--proof", "--json", "--target", TARGET)
NAMES = {"common": "common", "cu12": "lean-cu12", "cu13": "lean-cu13"}


@pytest.fixture
def poetry(tmp_path: Path) -> Path:
    """A folder for PATH with a poetry in it."""
    folder = tmp_path / "poetry-bin"
    folder.mkdir()
    write_poetry(folder)
    return folder


def free_url() -> str:
    """An index that nobody serves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/simple"


def write_lock(folder: Path, url: str | None, **renamed: str) -> None:
    """What `poetry lock` would write; `renamed` are packages under another name."""
    lock = tomllib.loads((folder / "uv.lock").read_text(encoding="utf-8"))
    hashes = {
        wheel["url"].rpartition("/")[2]: wheel["hash"]
        for package in lock["package"]
        for wheel in package.get("wheels", ())
    }
    text = ""
    for line, file in WHEELS.items():
        text += f"""
[[package]]
name = "{renamed.get(line, NAMES[line])}"
version = "1.0"
optional = {str(line != "common").lower()}
files = [{{ file = "{file}", hash = "{hashes[file]}" }}]
"""
        if url:
            text += f'\n[package.source]\ntype = "legacy"\nurl = "{url}"\nreference = "gpuenv"\n'
    text += '\n[extras]\ncu12 = ["lean-cu12"]\ncu13 = ["lean-cu13"]\n'
    (folder / "poetry.lock").write_text(text, encoding="utf-8")


def files(folder: Path) -> dict[str, bytes]:
    """The files of a project that are the user's own, and what is in them."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def proved(
    machine: Machine, folder: Path, poetry: Path, *words: str, network: bool = False
) -> dict[str, Any]:
    """What `prepare --proof` tells of poetry, and its errors."""
    path = os.pathsep.join((str(poetry), machine.variables()["PATH"]))
    done = machine.gpuenv(folder, *WORDS, *words, network=network, given={"PATH": path})
    (found,) = (one for one in done.envelope["data"]["proof"] if one["client"] == "poetry")
    return {**found, "code": done.code, "errors": done.envelope["errors"]}


def test_poetry_toggles_with_what_serve_would_have_for_it(
    warm: Machine, app: Path, index: IndexSimulator, poetry: Path
) -> None:
    write_lock(app, free_url())
    assert warm.gpuenv(app, "prepare", "--no-proof", "--target", TARGET).code == 0
    before, environments = files(app), warm.environments()
    index.reset_log()

    found = proved(warm, app, poetry)

    assert (found["ok"], found["wanted"], found["bytes"]) == (True, [], 0)
    assert (found["version"], found["program"]) == ("2.5.1", str(poetry / "poetry"))
    assert found["toggles"] == ["cu13", "cu12", "cpu", "cu13"]
    turned = [
        line.partition("--extras ")[2] for line in (poetry / "poetry.log").read_text().splitlines()
    ]
    assert turned == ["cu13", "cu12", "", "cu13"]
    assert files(app) == before
    assert warm.environments() == environments
    assert index.requests == []


def test_what_the_store_lacks_for_poetry_fails_the_proof(
    warm: Machine, app: Path, poetry: Path
) -> None:
    url = free_url()
    write_lock(app, url, common="unknown")
    assert warm.gpuenv(app, "prepare", "--only", "--no-proof", "--target", TARGET).code == 0
    found = proved(warm, app, poetry, "--only")
    assert (found["code"], found["ok"]) == (1, False)
    assert set(found["wanted"]) == {f"{url}/unknown/"}
    assert found["why"].endswith("424 Client Error for url: " + f"{url}/unknown/")
    (error,) = found["errors"]
    assert error["causes"] == [f"poetry 2.5.1: it asked for `{url}/unknown/`"]


def test_a_lock_that_is_not_of_serve_alone_is_not_tried(
    warm: Machine, app: Path, index: IndexSimulator, poetry: Path
) -> None:
    assert warm.gpuenv(app, "prepare", "--only", "--no-proof", "--target", TARGET).code == 0
    write_lock(app, None)
    found = proved(warm, app, poetry, "--only")
    assert (found["code"], found["ok"], found["toggles"]) == (0, None, [])
    assert "`https://pypi.org/simple/`, not from `gpuenv serve`" in found["why"]

    url = f"{index.index_url.rstrip('/')}/simple"
    write_lock(app, url)
    found = proved(warm, app, poetry, "--only", network=True)
    assert (found["code"], found["ok"]) == (0, None)
    assert f"`{url}`, not from `gpuenv serve`" in found["why"]

    (app / "poetry.lock").write_text("[", encoding="utf-8")
    found = proved(warm, app, poetry, "--only")
    assert (found["code"], found["ok"]) == (0, None)
    assert found["why"].startswith("`poetry.lock` is malformed: ")
    assert not (poetry / "poetry.log").exists()
