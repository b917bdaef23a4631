"""The index that the user's pip is set to."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECTIONS: Final = ("install", "global")


def index_url(variables: Mapping[str, str], home: Path) -> str | None:
    """The `index-url`: pip's variable, then its files, the most specific first.

    The order is that of pip's documentation, "Configuration Files".
    """
    if url := variables.get("PIP_INDEX_URL"):
        return url
    for path in config_files(variables, home):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip will say what is wrong with its own file.
        for section in _SECTIONS:
            if url := parser.get(section, "index-url", fallback=None):
                return url
    return None


def config_files(variables: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where pip is configured, the most specific first."""
    named = variables.get("PIP_CONFIG_FILE")
    if named == "/dev/null":
        return ()
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    folders = (variables.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    return (
        *([Path(named)] if named else []),
        config / "pip" / "pip.conf",
        home / ".pip" / "pip.conf",
        Path("/etc/pip.conf"),
        *(Path(folder) / "pip" / "pip.conf" for folder in folders if folder),
    )
