"""Profiles and compatibility tables as files."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.core.facts import Facts, read_facts
from provisioner.core.profile import Profile, is_profile, read_profile
from provisioner.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.core.artefact_facts import ArtefactFacts

_MEANT = re.compile(r"^(schema|cuda)\s*:", re.MULTILINE)


def shipped_folder() -> Path:
    """The `profiles/` that came with gpuenv: in the wheel, or beside the package in a checkout."""
    inside = Path(str(files("provisioner"))) / "profiles"
    return inside if inside.is_dir() else inside.parent.parent / "profiles"


def profile_folders(
    project: Path | None, variables: Mapping[str, str], home: Path
) -> tuple[Path, ...]:
    """Where profiles are looked up; the first of a name wins."""
    base = variables.get("XDG_CONFIG_HOME")
    config = Path(base) if base else home / ".config"
    own = (project / "profiles",) if project else ()
    return (*own, config / "gpuenv" / "profiles", shipped_folder())


def profile_files(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Every file that may be a profile, in the order of the lookup."""
    return tuple(
        path
        for folder in folders
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    )


def load_profiles(paths: Iterable[Path]) -> tuple[Profile, ...]:
    """Read the profiles; a later file of the same name is passed over.

    Raises:
        ProfileError: a file cannot be read, or is not valid.
    """
    found: dict[str, Profile] = {}
    for path in paths:
        profile = _load(path)
        if profile is not None:
            found.setdefault(profile.name, profile)
    return tuple(found.values())


def _load(path: Path) -> Profile | None:
    import yaml

    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        if isinstance(error, yaml.YAMLError) and not _MEANT.search(text):
            return None  # Another tool's, in a dialect of its own.
        message = f"profile `{path}` is not valid"
        raise ProfileError(message, causes=tuple(str(error).splitlines())) from error
    return read_profile(data, str(path)) if is_profile(data) else None


@cache
def load_facts() -> Facts:
    """The small compatibility tables, which every selection needs."""
    return read_facts(
        _table("driver_floors"),
        _table("toolkit_code"),
        architectures=_table("architectures"),
        driver_branches=_table("driver_branches"),
        forward_compat=_table("forward_compat"),
        torch_builds=_table("torch_builds"),
    )


@cache
def load_artefact_facts() -> ArtefactFacts:
    """The tables of what is in packages, which only judging packages needs."""
    from provisioner.core.artefact_facts import TABLES, read_artefact_facts

    return read_artefact_facts({name: _table(name) for name in TABLES})


def _table(name: str) -> dict[str, Any]:
    path = shipped_folder() / "facts" / f"{name}.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded
