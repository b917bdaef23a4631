"""What uv looks at to tell whether a folder that it has built has to be built again.

The rules are those of the setting `cache-keys` (uv's documentation, "Caching", "Dynamic
metadata"), which a folder's own `pyproject.toml` may have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_WILD: Final = re.compile(r"[*?\[{]")


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheKey:
    """A file (or a pattern), a folder that is or is not there, a variable; by their names.

    Of git the name is `commit` or `tags`.
    """

    kind: Literal["file", "dir", "git", "env"]
    name: str

    @property
    def is_pattern(self) -> bool:
        """Whether it may mean several files."""
        return self.kind == "file" and _WILD.search(self.name) is not None


DEFAULT: Final = (
    *(CacheKey(kind="file", name=name) for name in ("pyproject.toml", "setup.py", "setup.cfg")),
    CacheKey(kind="dir", name="src"),
)


def cache_keys(pyproject: Mapping[str, Any]) -> tuple[CacheKey, ...]:
    """The keys of a folder with that `pyproject.toml`.

    What uv does not know it refuses itself, so that it is passed over here.
    """
    tool = pyproject.get("tool")
    settings = tool.get("uv") if isinstance(tool, dict) else None
    told = settings.get("cache-keys") if isinstance(settings, dict) else None
    if not isinstance(told, list):
        return DEFAULT
    return tuple(dict.fromkeys(key for item in told for key in _keys(item)))


def _keys(item: object) -> Iterator[CacheKey]:
    if isinstance(item, str):
        yield CacheKey(kind="file", name=item)
    if not isinstance(item, dict):
        return
    for kind in ("file", "dir", "env"):
        if isinstance(name := item.get(kind), str):
            yield CacheKey(kind=kind, name=name)
    git = item.get("git")
    wished = git if isinstance(git, dict) else {"commit": git is True}
    for name in ("commit", "tags"):
        if wished.get(name) is True:
            yield CacheKey(kind="git", name=name)


def patterns(text: str) -> tuple[str, ...]:
    """A pattern without braces for each of what those mean: `*.{c,h}` is `*.c` and `*.h`."""
    found = _BRACES.search(text)
    if found is None:
        return (text,)
    return tuple(
        each
        for word in found[1].split(",")
        for each in patterns(f"{text[: found.start()]}{word}{text[found.end() :]}")
    )
