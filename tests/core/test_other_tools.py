"""What the tables and files of other tools say, and what is refused because of them."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.other_tools import (
    FILES,
    Elsewhere,
    read_elsewhere,
    refuse_other_project,
    refuse_unread,
)
from provisioner.core.project import read_manifest
from provisioner.errors import GpuenvError

SETUPTOOLS = {"build-backend": "setuptools.build_meta"}
POETRY = {"build-backend": "poetry.core.masonry.api"}
NAMES = st.text(string.ascii_letters, min_size=1)


def test_a_project_that_says_it_all_leaves_nothing_to_others() -> None:
    data = {
        "project": {"name": "app", "optional-dependencies": {"cu13": []}},
        "build-system": {"build-backend": "hatchling.build"},
    }
    assert read_elsewhere(data, "[options.extras_require]\ncu12 = x\n", None) == Elsewhere()


def test_the_extras_of_a_poetry_project_without_a_project_table_are_read() -> None:
    tool = {"poetry": {"name": "My_App", "extras": {"cu13": ["tensorrt"]}}}
    manifest = read_manifest({"build-system": POETRY, "tool": tool}, "pyproject.toml")
    assert manifest.extras == {"cu13"}
    assert (manifest.name, manifest.package_name) == (None, "my-app")
    assert manifest.is_project
    assert manifest.is_package


@pytest.mark.parametrize(
    ("poetry", "build"),
    [({"package-mode": False}, {"build-system": POETRY}), ({"name": "app"}, {})],
)
def test_what_only_poetry_can_install_is_a_fault(
    poetry: dict[str, Any], build: dict[str, Any]
) -> None:
    assert read_elsewhere({"tool": {"poetry": poetry}, **build}).fault
    assert not read_elsewhere({"project": {}, "tool": {"poetry": poetry}, **build}).fault


@given(names=st.sets(NAMES))
def test_the_extras_of_a_setup_script_are_the_keys_of_its_dictionary(names: set[str]) -> None:
    extras = {name: ["tensorrt"] for name in names}
    for text in (
        f"import setuptools\nsetuptools.setup(name='app', extras_require={extras!r})\n",
        f"EXTRAS = {extras!r}\nsetup(name='app', extras_require=EXTRAS)\n",
    ):
        found = read_elsewhere({"build-system": SETUPTOOLS}, None, text)
        assert found == Elsewhere(name="app", extras=frozenset(names))


@pytest.mark.parametrize(
    "text",
    [
        "setup(extras_require=read())",
        "setup(extras_require={**MORE})",
        "setup(extras_require={name: [] for name in LINES})",
        "setup(extras_require=EXTRAS)",
        "EXTRAS = {}\nEXTRAS = read()\nsetup(extras_require=EXTRAS)",
        "setup(**read())",
    ],
)
def test_extras_that_a_setup_script_computes_are_said_to_be_unread(text: str) -> None:
    found = read_elsewhere({"build-system": SETUPTOOLS}, None, text)
    assert found.extras == frozenset()
    assert found.unread is not None
    assert "setup.py" in found.unread


@pytest.mark.parametrize("text", ["setup(name='app')", "(", "\0", "print('setup')"])
def test_a_setup_script_without_extras_leaves_nothing_unread(text: str) -> None:
    found = read_elsewhere({"build-system": SETUPTOOLS}, None, text)
    assert (found.extras, found.unread) == (frozenset(), None)


def test_the_extras_of_setup_cfg_and_of_setuptools_tables_are_read() -> None:
    cfg = "[metadata]\nname = app\nversion = %(x)s\n[options.extras_require]\ncu12 =\n  tensorrt\n"
    dynamic = {"optional-dependencies": {"cu13": {"file": ["cu13.txt"]}}}
    data = {
        "project": {"name": "app", "dynamic": ["optional-dependencies"]},
        "build-system": SETUPTOOLS,
        "tool": {"setuptools": {"dynamic": dynamic}},
    }
    found = read_elsewhere(data, cfg, None)
    assert found == Elsewhere(name="app", extras=frozenset({"cu12", "cu13"}))
    assert read_elsewhere(data, "no section\n", None).extras == {"cu13"}


def test_extras_that_only_a_build_backend_knows_are_said_to_be_unread() -> None:
    data = {
        "project": {"name": "app", "dynamic": ["optional-dependencies"]},
        "build-system": {"build-backend": "hatchling.build"},
    }
    assert "`hatchling.build`" in (read_elsewhere(data).unread or "")


def test_lines_that_cannot_be_read_are_refused_unless_others_are_there() -> None:
    unread = Elsewhere(unread="only the backend knows")
    with pytest.raises(GpuenvError) as caught:
        refuse_unread(unread, {"dev"}, ["cu12", "cu13"], "pyproject.toml")
    assert caught.value.code == "project-unsupported"
    assert caught.value.causes == ("only the backend knows",)
    refuse_unread(unread, {"cu12"}, ["cu12", "cu13"], "pyproject.toml")


@pytest.mark.parametrize(
    ("tool", "table"),
    [
        ({"pdm": {"dev-dependencies": {"CU_13": []}}}, "tool.pdm.dev-dependencies"),
        ({"poetry": {"group": {"CU_13": {}}}}, "tool.poetry.group"),
        ({"hatch": {"envs": {"CU_13": {}}}}, "tool.hatch.envs"),
        ({"pixi": {"feature": {"CU_13": {}}}}, "tool.pixi.feature"),
    ],
)
def test_a_line_in_the_table_of_one_tool_is_refused_with_its_place(
    tool: dict[str, Any], table: str
) -> None:
    found = read_elsewhere({"project": {"name": "app"}, "tool": tool})
    with pytest.raises(GpuenvError) as caught:
        refuse_unread(found, (), ["cu-13"], "pyproject.toml")
    assert caught.value.causes[0].startswith(f"`CU_13` is defined in `[{table}]`, which only ")
    refuse_unread(found, {"cu-13"}, ["cu-13"], "pyproject.toml")
    refuse_unread(found, (), ["cu-12"], "pyproject.toml")


def test_groups_that_one_could_miss_are_noted_and_environments_of_a_tool_are_not() -> None:
    tool = {
        "poetry": {"group": {"test": {}, "docs": {}}, "dev-dependencies": {"pytest": "*"}},
        "hatch": {"envs": {"lint": {}}},
    }
    assert read_elsewhere({"project": {"name": "app"}, "tool": tool}).notes == (
        "`docs`, `test` of `[tool.poetry.group]` are not installed: only poetry reads that table",
        "`dev` of `[tool.poetry.dev-dependencies]` is not installed: only poetry reads that table",
    )


@pytest.mark.parametrize("tool", [{"poetry": 3}, {"pdm": {"dev-dependencies": []}}, 5, []])
def test_a_table_of_another_tool_that_is_none_says_nothing(tool: object) -> None:
    assert read_elsewhere({"tool": tool}) == Elsewhere()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_stands_for_a_project_is_refused_by_name_with_a_hint(name: str) -> None:
    with pytest.raises(GpuenvError) as caught:
        refuse_other_project("app", ["notes.txt", name])
    assert caught.value.code == "project-unsupported"
    assert caught.value.causes == (f"`{name}` is not read",)
    assert caught.value.hint


def test_any_other_files_are_no_project() -> None:
    refuse_other_project("app", ["notes.txt", "job.py"])
