"""The settings files of the user's uv, as far as gpuenv has to know them."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.profile import CONTROL, CacheControl, Index
from provisioner.core.urls import Login, login_in, origin, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_NAMED: Final = re.compile(r"[A-Za-z0-9._-]+=")
_PROXIES: Final = {"http-proxy": "http_proxy", "https-proxy": "https_proxy", "no-proxy": "no_proxy"}
_YES: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
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
_REDIRECTING: Final = frozenset(
    {
        "all-extras",
        "break-system-packages",
        "extra",
        "group",
        "no-deps",
        "output-file",
        "prefix",
        "python",
        "python-platform",
        "python-version",
        "system",
        "target",
        "universal",
    }
)
"""What `[pip]` may say that would send packages elsewhere, or other packages."""
_PYTORCH: Final = "https://download.pytorch.org/whl"
"""What `torch-backend` stands for (uv's documentation, "Using uv with PyTorch")."""
_PATHS: Final = ("cache-dir", "index-url", "extra-index-url", "find-links")


def settings_files(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[Path, ...]:
    """Where uv looks for settings, the strongest first (its "Configuration files").

    Of the project's it reads only those of the nearest folder that has any, and there
    `uv.toml` hides `pyproject.toml`; `settings` follows that.
    """
    if named := variables.get("UV_CONFIG_FILE"):
        return (Path(named),)
    if variables.get("UV_NO_CONFIG", "").lower() in _YES:
        return ()
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    system = (variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    project = tuple(
        parent / name
        for parent in (folder, *folder.parents)
        for name in ("uv.toml", "pyproject.toml")
    )
    return (
        *project,
        config / "uv" / "uv.toml",
        *(Path(part) / "uv" / "uv.toml" for part in system if part),
        Path("/etc/uv/uv.toml"),
    )


def _all_settings(
    variables: Mapping[str, str], home: Path, folder: Path, into: Path | None = None
) -> Iterator[Mapping[str, Any]]:
    """The settings that count, the strongest first, with paths as `into` sees them."""
    for path, found in files_that_count(variables, home, folder):
        yield _anchored(found, path.parent, into) if into else found


def files_that_count(
    variables: Mapping[str, str], home: Path, folder: Path
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The settings files that count and what they set, the strongest first."""
    nearest = False
    for path in settings_files(variables, home, folder):
        in_project = path.parent == folder or path.parent in folder.parents
        if in_project and nearest:
            continue
        found = _settings(path)
        if found is not None:
            nearest = nearest or in_project
            yield path, found


def proxies(variables: Mapping[str, str], home: Path, folder: Path) -> dict[str, str]:
    """The proxies that settings name, as the variables that mean the same."""
    merged = _merged(_all_settings(variables, home, folder))
    return {
        variable: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, variable in _PROXIES.items()
        if (value := merged.get(key))
    }


def link_mode(variables: Mapping[str, str], home: Path, folder: Path) -> str | None:
    """How uv is told to bring files into an environment; None where it chooses itself."""
    named = variables.get("UV_LINK_MODE") or _merged(_all_settings(variables, home, folder)).get(
        "link-mode"
    )
    return None if named is None else str(named)


def keeps_nothing(variables: Mapping[str, str], home: Path, folder: Path) -> bool:
    """Whether uv is told to use no cache."""
    if said := variables.get("UV_NO_CACHE"):
        return said.lower() in _YES
    return _merged(_all_settings(variables, home, folder)).get("no-cache") is True


def safe_settings(variables: Mapping[str, str], home: Path, folder: Path, into: Path) -> str | None:
    """All settings as one `uv.toml` in `into`, without what must not count.

    None where there is nothing to leave out. Paths stay relative, since uv writes them into
    locks as they are.

    A proxy in a settings file is stronger than the variables that send uv through the
    gateway, and `[pip] target` and its like send packages into another environment. Only
    another settings file, which replaces all of them, is stronger still.
    """
    merged = _merged(_all_settings(variables, home, folder, into))
    pip = merged.get("pip")
    redirected = isinstance(pip, dict) and bool(_REDIRECTING & pip.keys())
    if not redirected and not any(merged.get(key) for key in _PROXIES):
        return None
    import tomlkit

    left = {k: v for k, v in merged.items() if k not in _PROXIES and k not in _PROJECT_ONLY}
    if isinstance(pip, dict):
        left["pip"] = {key: value for key, value in pip.items() if key not in _REDIRECTING}
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


def has_default_index(
    variables: Mapping[str, str], home: Path, folder: Path, *, of_pip: bool = False
) -> bool:
    """Whether a variable or a settings file names uv's default index.

    `of_pip`: that of `uv pip`, which alone heeds `[pip]`.
    """
    if variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL"):
        return True
    every = [*_all_settings(variables, home, folder)]
    tables = [table for item in every if isinstance(table := item.get("pip"), dict)]
    return any(map(_names_default, (*every, *(tables if of_pip else ()))))


def index_logins(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[Login, ...]:
    """User and password of each index that has them, the strongest first.

    They stand in an index URL, or in `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD` (uv's
    documentation, "Package indexes").
    """
    found = []
    for name, url in _indexes(variables, home, folder):
        own = login_in(url)
        user, password = (own.user, own.password) if own else ("", "")
        prefix = f"UV_INDEX_{re.sub('[^A-Za-z0-9]', '_', name).upper()}"
        user = variables.get(f"{prefix}_USERNAME") or user
        password = variables.get(f"{prefix}_PASSWORD") or password
        if origin(url) and (user or password):
            found.append(Login(index=without_secrets(url), user=user, password=password))
    return tuple(found)


def index_urls(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[str, ...]:
    """The indexes that variables and settings files name, each once."""
    return tuple(dict.fromkeys(url for _, url in _indexes(variables, home, folder)))


def search_order(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[str, ...]:
    """The indexes in which uv looks for any package, in this order, without its own default.

    Explicit and flat ones are left out; that which takes PyPI's place comes last (uv's
    documentation, "Package indexes").
    """
    named = [(variable, url) for variable, _, url in variable_indexes(variables)]
    first = [url for variable, url in named if variable in {"UV_INDEX", "UV_EXTRA_INDEX_URL"}]
    default = [url for variable, url in named if variable in {"UV_DEFAULT_INDEX", "UV_INDEX_URL"}]
    for settings in _all_settings(variables, home, folder):
        for item in _list(settings, "index"):
            if not (isinstance(item, dict) and isinstance(item.get("url"), str)):
                continue
            if item.get("explicit") is not True and item.get("format", "simple") == "simple":
                (default if item.get("default") is True else first).append(item["url"])
        first += [url for url in _list(settings, "extra-index-url") if isinstance(url, str)]
        if isinstance(url := settings.get("index-url"), str):
            default.append(url)
    return tuple(dict.fromkeys((*first, *default[:1])))


def flat_indexes(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[str, ...]:
    """The pages that list files of any package, in all of which uv looks beside its indexes."""
    every = (
        item
        for settings in _all_settings(variables, home, folder)
        for item in _list(settings, "index")
        if isinstance(item, dict) and isinstance(item.get("url"), str)
    )
    return tuple(
        dict.fromkeys(
            item["url"]
            for item in every
            if item.get("format") == "flat" and item.get("explicit") is not True
        )
    )


def hides_later_indexes(variables: Mapping[str, str], home: Path, folder: Path) -> bool:
    """Whether uv takes a package only from the first index that has it, as it does untold."""
    named = variables.get("UV_INDEX_STRATEGY") or _merged(
        _all_settings(variables, home, folder)
    ).get("index-strategy")
    return named in {None, "first-index"}


def more_places(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[str, ...]:
    """Where uv looks for packages beside its indexes: find-links, and `[pip]`'s own."""
    found: list[object] = [*variables.get("UV_FIND_LINKS", "").replace(",", " ").split()]
    for settings in _all_settings(variables, home, folder):
        pip = settings.get("pip")
        for table in (settings, pip if isinstance(pip, dict) else {}):
            found += _list(table, "find-links")
        if isinstance(pip, dict):
            found += [pip.get("index-url"), *_list(pip, "extra-index-url")]
            found += [_PYTORCH] if pip.get("torch-backend") else []
    found += [_PYTORCH] if variables.get("UV_TORCH_BACKEND") else []
    return tuple(dict.fromkeys(url for url in found if isinstance(url, str)))


def index_policies(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[Index, ...]:
    """The indexes of settings files that say how long their answers hold, the strongest first.

    That is uv's `cache-control = { api = "…", files = "…" }` of an index.
    """
    return tuple(
        Index(
            name=str(item.get("name", "")),
            url=item["url"],
            cache_control=control,
            origin=f"`{path}`",
        )
        for path, settings in files_that_count(variables, home, folder)
        for item in _list(settings, "index")
        if isinstance(item, dict)
        and isinstance(item.get("url"), str)
        and (control := _cache_control(item.get("cache-control"))) != CacheControl()
    )


def _cache_control(data: object) -> CacheControl:
    terms = data if isinstance(data, dict) else {}

    def term(key: str) -> str | None:
        value = terms.get(key)
        return value if isinstance(value, str) and CONTROL.fullmatch(value) else None

    return CacheControl(api=term("api"), files=term("files"))


def named_indexes(variables: Mapping[str, str]) -> dict[str, str]:
    """The URL of each index that a variable names; it takes the place of a project's own."""
    return {name: url for _, name, url in reversed([*variable_indexes(variables)]) if name}


def insecure_hosts(variables: Mapping[str, str], home: Path, folder: Path) -> tuple[str, ...]:
    """Hosts that may be asked without encryption: `UV_INSECURE_HOST`, `allow-insecure-host`."""
    named = [
        host
        for settings in _all_settings(variables, home, folder)
        for host in _list(settings, "allow-insecure-host")
        if isinstance(host, str)
    ]
    return (*variables.get("UV_INSECURE_HOST", "").split(), *named)


def wants_system_certificates(variables: Mapping[str, str], home: Path, folder: Path) -> bool:
    """Whether uv is to trust what the system trusts: `system-certs`, once `native-tls`."""
    for variable in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"):
        if said := variables.get(variable):
            return said.lower() in _YES
    merged = _merged(_all_settings(variables, home, folder))
    return merged.get("system-certs", merged.get("native-tls")) is True


def variable_indexes(variables: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The indexes that variables name, the strongest first: variable, name (or ""), URL."""
    for variable in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        for word in variables.get(variable, "").split():
            name, _, url = word.partition("=") if _NAMED.match(word) else ("", "", word)
            yield variable, name, url


def _indexes(variables: Mapping[str, str], home: Path, folder: Path) -> Iterator[tuple[str, str]]:
    yield from ((name, url) for _, name, url in variable_indexes(variables))
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
    return bool(settings.get("index-url")) or any(
        item.get("default") is True for item in _list(settings, "index") if isinstance(item, dict)
    )


def _anchored(settings: Mapping[str, Any], folder: Path, into: Path) -> dict[str, Any]:
    """Settings of a file in `folder` whose relative paths hold for one in `into`."""

    def anchor(value: object) -> object:
        if isinstance(value, list):
            return [anchor(item) for item in value]
        if isinstance(value, dict):
            return {**value, "url": anchor(value["url"])} if "url" in value else value
        if not isinstance(value, str) or "://" in value or Path(value).is_absolute():
            return value
        return os.path.relpath(folder / value, into)

    anchored = {
        key: anchor(value) if key in (*_PATHS, "index") else value
        for key, value in settings.items()
    }
    if isinstance(pip := settings.get("pip"), dict):
        anchored["pip"] = _anchored(pip, folder, into)
    return anchored


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
