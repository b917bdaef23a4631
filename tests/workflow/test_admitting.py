"""What counts as an index in a project, and where a file is looked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.projects import read_place
from provisioner.core.routes import PYPI
from provisioner.workflow.admitting import reach_of
from provisioner.workflow.default_index import default_index, given_variables
from provisioner.workflow.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.adapters.projects import Place

CORP = "https://corp.test/simple/"
FOR_UV = '[[tool.uv.index]]\nname = "own"\nurl = "https://own.test/simple/"\nexplicit = true\n'


def project(tmp_path: Path, more: str = "") -> Place:
    folder = tmp_path / "app"
    folder.mkdir()
    text = '[project]\nname = "app"\nversion = "1"\n'
    (folder / "pyproject.toml").write_text(text + more, encoding="utf-8")
    return read_place(folder, is_project=True)


def world(tmp_path: Path, **variables: str) -> World:
    made = {"XDG_CONFIG_DIRS": str(tmp_path / "none"), **variables}
    return World(variables=made, home=tmp_path / "home", folder=tmp_path, now=time.time)


@pytest.mark.parametrize("more", [FOR_UV, f'{FOR_UV}[tool.uv.pip]\nindex-url = "{CORP}"\n'])
def test_a_project_that_uv_locks_asks_pypi_whatever_pip_is_set_to(
    tmp_path: Path, more: str
) -> None:
    place, here = project(tmp_path, more), world(tmp_path, PIP_INDEX_URL=CORP)
    admission, search = reach_of(here, place, ())
    assert admission.admits(f"{PYPI}flit-core/")
    assert admission.admits(f"{CORP}flit-core/")
    assert search().routes.order == (PYPI,)
    assert default_index(here, place) == PYPI
    assert given_variables(here, place) == {}


def test_where_gpuenv_resolves_pips_index_is_uvs(tmp_path: Path) -> None:
    place = project(tmp_path)
    assert given_variables(world(tmp_path), place) == {}
    assert given_variables(world(tmp_path, UV_DEFAULT_INDEX=PYPI, PIP_INDEX_URL=CORP), place) == {}
    given = given_variables(world(tmp_path, PIP_INDEX_URL=CORP), place)
    assert given == {"UV_DEFAULT_INDEX": CORP}
    admission, search = reach_of(world(tmp_path, **given), place, ())
    assert admission.admits(f"{CORP}helper/")
    assert not admission.admits(f"{PYPI}helper/")
    assert search().routes.order == (CORP,)


def test_an_index_of_uv_pip_takes_the_place_of_pips_where_gpuenv_resolves(tmp_path: Path) -> None:
    settings = tmp_path / "uv.toml"
    settings.write_text('[pip]\nindex-url = "https://own.test/simple/"\n', encoding="utf-8")
    place, here = project(tmp_path), world(tmp_path, PIP_INDEX_URL=CORP)
    assert default_index(here, place) is None
    assert given_variables(here, place) == {}
