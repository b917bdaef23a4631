"""Where profiles are looked up, and which files are taken for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.profiles import (
    load_facts,
    load_profiles,
    profile_files,
    profile_folders,
    shipped_folder,
)
from provisioner.errors import ProfileError

if TYPE_CHECKING:
    from pathlib import Path

MAJOR_LINES = {"cpu", "cu11", "cu12", "cu13"}


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file of a folder of profiles."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def profile(name: str, cuda: str = "12") -> str:
    """A small profile."""
    return f'schema: 1\nname: {name}\ncuda: "{cuda}"\n'


def test_the_projects_profiles_come_first_and_the_shipped_ones_last(tmp_path: Path) -> None:
    folders = profile_folders(tmp_path / "project", {}, tmp_path / "home")

    assert folders == (
        tmp_path / "project" / "profiles",
        tmp_path / "home" / ".config" / "gpuenv" / "profiles",
        shipped_folder(),
    )


def test_without_a_project_the_users_profiles_come_first(tmp_path: Path) -> None:
    variables = {"XDG_CONFIG_HOME": str(tmp_path / "config")}

    folders = profile_folders(None, variables, tmp_path / "home")

    assert folders == (tmp_path / "config" / "gpuenv" / "profiles", shipped_folder())


def test_the_first_of_a_name_wins_and_says_where_it_is_from(tmp_path: Path) -> None:
    first = write(tmp_path / "first", "mine.yaml", profile("cu12", "12.8"))
    write(tmp_path / "second", "cu12.yaml", profile("cu12", "12.4"))
    other = write(tmp_path / "second", "cu13.yaml", profile("cu13", "13"))

    loaded = load_profiles(profile_files([tmp_path / "first", tmp_path / "second"]))

    assert [(item.name, str(item.cuda), item.origin) for item in loaded] == [
        ("cu12", "12.8", str(first)),
        ("cu13", "13", str(other)),
    ]


def test_folders_that_are_missing_have_no_files(tmp_path: Path) -> None:
    assert profile_files([tmp_path / "missing"]) == ()


def test_only_yaml_files_are_looked_at_in_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "d.yaml.bak", "README.md"):
        write(tmp_path, name, profile("demo"))

    assert [path.name for path in profile_files([tmp_path])] == ["a.yml", "b.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "default:\n  target: dev\n",
        "- a\n- list\n",
        "just a text\n",
        "name: cu12\nextras: [cu12]\n",
    ],
)
def test_a_file_of_another_tool_is_left_alone(text: str, tmp_path: Path) -> None:
    write(tmp_path, "foreign.yaml", text)
    write(tmp_path, "mine.yaml", profile("mine"))

    assert [item.name for item in load_profiles(profile_files([tmp_path]))] == ["mine"]


@pytest.mark.parametrize(
    "text",
    ["a: 1\n---\nb: 2\n", "key: !Reference [other, name]\n"],
    ids=["several documents", "a tag of its own"],
)
def test_a_file_of_another_tool_that_has_its_own_dialect_is_left_alone(
    text: str, tmp_path: Path
) -> None:
    write(tmp_path, "foreign.yaml", text)
    write(tmp_path, "mine.yaml", profile("mine"))

    assert [item.name for item in load_profiles(profile_files([tmp_path]))] == ["mine"]


@pytest.mark.parametrize("text", ["schema: 1\nname: [\n", 'cuda: "12\n', "schema: 1\n\tname: a\n"])
def test_a_profile_that_is_no_yaml_is_an_error_that_names_the_file(
    text: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "broken.yaml", text)

    with pytest.raises(ProfileError) as caught:
        load_profiles([path])

    assert (caught.value.exit_code, caught.value.code) == (2, "profile-invalid")
    assert str(path) in caught.value.message
    assert caught.value.causes


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('cuda: "12"\nname: cu12\n', "schema"),
        ("schema: 1\nname: cu12\n", "cuda"),
        ('schema: 2\nname: cu12\ncuda: "12"\n', "schema"),
        ('schema: 1\nname: Cu 12\ncuda: "12"\n', "name"),
        ("schema: 1\nname: cu12\ncuda: 12.10\n", "cuda"),
    ],
)
def test_a_profile_with_a_fault_is_an_error_that_names_the_key(
    text: str, key: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "broken.yaml", text)

    with pytest.raises(ProfileError) as caught:
        load_profiles([path])

    assert [cause.split(":")[0] for cause in caught.value.causes] == [f"`{key}`"]


def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"schema: 1\nname: \xe4\n")

    with pytest.raises(ProfileError, match=r"latin\.yaml"):
        load_profiles([path])


def test_the_shipped_profiles_are_valid_and_bear_the_names_of_their_files() -> None:
    files = profile_files([shipped_folder()])
    loaded = load_profiles(files)

    assert {item.name for item in loaded} >= MAJOR_LINES
    assert [path.stem for path in files] == [item.name for item in loaded]


def test_the_shipped_tables_can_be_read() -> None:
    facts = load_facts()

    assert facts.floors
