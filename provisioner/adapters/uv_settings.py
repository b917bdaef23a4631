"""The settings files of the user's uv, as far as gpuenv has to know them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def settings_files(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[Path, ...]:
    """Where uv looks for settings (uv's documentation, "Configuration files")."""
    if named := variables.get("UV_CONFIG_FILE"):
        return (Path(named),)
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    project = tuple(
        parent / name
        for parent in (folder, *folder.parents)
        for name in ("uv.toml", "pyproject.toml")
    )
    return (*project, config / "uv" / "uv.toml", Path("/etc/uv/uv.toml"))


def has_default_index(variables: Mapping[str, str], home: Path, folder: Path) -> bool:
    """Whether a variable or a settings file names uv's default index."""
    if variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL"):
        return True
    return any(_names_default(_settings(path)) for path in settings_files(variables, home, folder))


def _names_default(settings: Mapping[str, Any]) -> bool:
    pip = settings.get("pip")
    indexes = settings.get("index")
    return (
        bool(settings.get("index-url"))
        or (isinstance(pip, dict) and bool(pip.get("index-url")))
        or any(item.get("default") is True for item in indexes or () if isinstance(item, dict))
    )


def _settings(path: Path) -> Mapping[str, Any]:
    try:
        data: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # uv will say what is wrong with its own file.
    if path.name == "pyproject.toml":
        tool = data.get("tool")
        data = tool.get("uv") if isinstance(tool, dict) else None
    return data if isinstance(data, dict) else {}
