"""The settings files of the user's uv, as far as gpuenv has to know them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from provisioner.core.urls import origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NAMED: Final = re.compile(r"[A-Za-z0-9._-]+=")
_PROXIES: Final = {"http-proxy": "http_proxy", "https-proxy": "https_proxy", "no-proxy": "no_proxy"}
_PROJECT_ONLY: Final = frozenset(
    {
        "build-backend",
        "conflicts",
        "default-groups",
        "dependency-groups",
        "dev-dependencies",
        "managed",
        "package",
        "sources",
        "workspace",
    }
)
"""What `[tool.uv]` may say of a project and `uv.toml` may not."""


def settings_files(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[Path, ...]:
    """Where uv looks for settings, the strongest first (its "Configuration files").

    Of the project's it reads only those of the nearest folder that has any, and there
    `uv.toml` hides `pyproject.toml`; `settings` follows that.
    """
    if named := variables.get("UV_CONFIG_FILE"):
        return (Path(named),)
    if variables.get("UV_NO_CONFIG", "").lower() in {"1", "true", "yes", "on"}:
        return ()
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    project = tuple(
        parent / name
        for parent in (folder, *folder.parents)
        for name in ("uv.toml", "pyproject.toml")
    )
    return (*project, config / "uv" / "uv.toml", Path("/etc/uv/uv.toml"))


def _all_settings(
    variables: Mapping[str, str], home: Path, folder: Path
) -> Iterator[Mapping[str, Any]]:
    """The settings that count, the strongest first."""
    nearest = False
    for path in settings_files(variables, home, folder):
        in_project = path.parent == folder or path.parent in folder.parents
        if in_project and nearest:
            continue
        found = _settings(path)
        if found is not None:
            nearest = nearest or in_project
            yield found


def proxies(variables: Mapping[str, str], home: Path, folder: Path) -> dict[str, str]:
    """The proxies that settings name, as the variables that mean the same."""
    merged = _merged(_all_settings(variables, home, folder))
    return {
        variable: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, variable in _PROXIES.items()
        if (value := merged.get(key))
    }


def without_proxies(variables: Mapping[str, str], home: Path, folder: Path) -> str | None:
    """All settings as one `uv.toml` without proxies; None where none names any.

    A proxy in a settings file is stronger than the variables that send uv through the
    gateway, and only another settings file, which replaces all of them, is stronger still.
    """
    import tomlkit

    if not proxies(variables, home, folder):
        return None
    merged = _merged(_all_settings(variables, home, folder))
    left = {k: v for k, v in merged.items() if k not in _PROXIES and k not in _PROJECT_ONLY}
    return tomlkit.dumps(left)


def _merged(settings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings on top of each other, the strongest first; lists are put together, as in uv."""
    merged: dict[str, Any] = {}
    for item in settings:
        for key, value in item.items():
            if key not in merged:
                merged[key] = value
            elif isinstance(value, list) and isinstance(merged[key], list):
                merged[key] = [*merged[key], *value]
            elif isinstance(value, dict) and isinstance(merged[key], dict):
                merged[key] = _merged((merged[key], value))
    return merged


def has_default_index(variables: Mapping[str, str], home: Path, folder: Path) -> bool:
    """Whether a variable or a settings file names uv's default index."""
    if variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL"):
        return True
    return any(_names_default(item) for item in _all_settings(variables, home, folder))


def index_credentials(
    variables: Mapping[str, str], home: Path, folder: Path
) -> dict[str, tuple[str, str]]:
    """User and password of each index that has them, by origin such as `https://host:8443`.

    They stand in an index URL, or in `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD` (uv's
    documentation, "Package indexes"). What settings say first wins.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, url in _indexes(variables, home, folder):
        parts = urlsplit(url)
        prefix = f"UV_INDEX_{re.sub('[^A-Za-z0-9]', '_', name).upper()}"
        user = variables.get(f"{prefix}_USERNAME") or unquote(parts.username or "")
        password = variables.get(f"{prefix}_PASSWORD") or unquote(parts.password or "")
        if user or password:
            found.setdefault(origin(url), (user, password))
    return found


def _indexes(variables: Mapping[str, str], home: Path, folder: Path) -> Iterator[tuple[str, str]]:
    for variable in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        for word in variables.get(variable, "").split():
            name, _, url = word.partition("=") if _NAMED.match(word) else ("", "", word)
            yield name, url
    for settings in _all_settings(variables, home, folder):
        for item in _list(settings, "index"):
            if isinstance(item, dict) and isinstance(item.get("url"), str):
                yield str(item.get("name", "")), item["url"]
        urls = settings.get("index-url"), *_list(settings, "extra-index-url")
        yield from (("", url) for url in urls if isinstance(url, str))


def _list(settings: Mapping[str, Any], key: str) -> list[Any]:
    value = settings.get(key)
    return value if isinstance(value, list) else []


def _names_default(settings: Mapping[str, Any]) -> bool:
    pip = settings.get("pip")
    return (
        bool(settings.get("index-url"))
        or (isinstance(pip, dict) and bool(pip.get("index-url")))
        or any(
            item.get("default") is True
            for item in _list(settings, "index")
            if isinstance(item, dict)
        )
    )


def _settings(path: Path) -> Mapping[str, Any] | None:
    """What one file sets; None where it has nothing to say."""
    try:
        data: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # uv will say what is wrong with its own file.
    if path.name == "pyproject.toml":
        tool = data.get("tool")
        data = tool.get("uv") if isinstance(tool, dict) else None
    return data if isinstance(data, dict) else None
