"""The index that the user's pip is set to, and the hosts that it trusts."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECTIONS: Final = ("install", "global")


def index_url(variables: Mapping[str, str], home: Path) -> str | None:
    """The `index-url`: pip's variable, then `[install]` of its files, then `[global]`.

    The order is that of pip's documentation, "Configuration Files", and of what pip does.
    """
    return next(index_urls(variables, home), None)


def index_urls(variables: Mapping[str, str], home: Path) -> Iterator[str]:
    """Every `index-url` that something names, the one that counts first."""
    if url := variables.get("PIP_INDEX_URL"):
        yield url
    parsers = [_parsed(path) for path in config_files(variables, home)]
    for section in _SECTIONS:
        for parser in parsers:
            for key in ("index-url", "index_url"):
                if url := parser.get(section, key, fallback=None):
                    yield url


def trusted_hosts(variables: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """The hosts that pip asks without encryption: `trusted-host` of its variable and files."""
    texts = [variables.get("PIP_TRUSTED_HOST", "")]
    for parser in (_parsed(path) for path in config_files(variables, home)):
        texts += [
            parser.get(section, key, fallback="")
            for section in _SECTIONS
            for key in ("trusted-host", "trusted_host")
        ]
    return tuple(host for text in texts for host in text.split())


def config_files(variables: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where pip is configured, the most specific first.

    A `PIP_CONFIG_FILE` that exists takes the place of the user's files.
    """
    named = variables.get("PIP_CONFIG_FILE")
    if named == "/dev/null":
        return ()
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    folders = [part for part in (variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if part]
    user = (config / "pip" / "pip.conf", home / ".pip" / "pip.conf")
    return (
        *([Path(named)] if named else []),
        *(() if named and Path(named).exists() else user),
        Path("/etc/pip.conf"),
        *(Path(folder) / "pip" / "pip.conf" for folder in reversed(folders)),
    )


def _parsed(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return configparser.RawConfigParser()  # pip will say what is wrong with its own file.
    return parser
