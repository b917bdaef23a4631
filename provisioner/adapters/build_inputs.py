"""What goes into a build of a folder, as far as uv tells a changed one by it."""

from __future__ import annotations

import os
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters._files import stamp_of
from provisioner.core.cache_keys import CacheKey, cache_keys, patterns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BUILD_FILES: Final = ("pyproject.toml", "setup.py", "setup.cfg")
"""What counts whatever `cache-keys` says, by its content."""

_GIT: Final = {
    "commit": ("rev-parse", "HEAD"),
    "tags": ("for-each-ref", "--format=%(objectname) %(refname)", "refs/tags"),
}
_GIT_FILES: Final = ("HEAD", "packed-refs", "refs/tags")
_ELSEWHERE: Final = frozenset(
    {"GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_WORK_TREE"}
)
"""Variables that name a repository (git(1)); git gives them to its hooks."""


def build_inputs(folder: Path, variables: Mapping[str, str]) -> list[list[Any]]:
    """Everything that tells that a folder has to be built again, for JSON.

    Files are told by size and time, as uv does.
    """
    return [[*_told(folder, key, variables)] for key in _keys(folder)]


def watched(folder: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    """The files and folders of which at least one changes wherever `build_inputs` do.

    Variables are told by `named_variables`.
    """
    yield from (folder / name for name in BUILD_FILES)
    for key in _keys(folder):
        if key.is_pattern:
            yield from _walked(folder, key)
        elif key.kind == "git":
            yield from _git_files(folder, variables)
        elif key.kind != "env":
            yield folder / key.name


def named_variables(folder: Path) -> frozenset[str]:
    """The variables that go into a build."""
    return frozenset(key.name for key in _keys(folder) if key.kind == "env")


def _keys(folder: Path) -> tuple[CacheKey, ...]:
    try:
        return cache_keys(tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return cache_keys({})


def _told(folder: Path, key: CacheKey, variables: Mapping[str, str]) -> Iterator[Any]:
    yield key.kind
    yield key.name
    if key.kind == "env":
        yield variables.get(key.name)
    elif key.kind == "dir":
        yield (folder / key.name).is_dir()
    elif key.kind == "git":
        yield _git(folder, variables, *_GIT[key.name])
    elif key.is_pattern:
        for path in _matches(folder, key):
            yield [str(path.relative_to(folder)), stamp_of(path)]
    elif key.name not in BUILD_FILES:
        yield stamp_of(folder / key.name)


def _matches(folder: Path, key: CacheKey) -> list[Path]:
    """The files that a pattern means; those above the folder are not looked for."""
    found: set[Path] = set()
    for pattern in patterns(key.name):
        with suppress(ValueError, NotImplementedError, OSError):
            found.update(path for path in folder.glob(pattern) if path.is_file())
    return sorted(found)


def _walked(folder: Path, key: CacheKey) -> Iterator[Path]:
    """What a pattern means now, and the folders in which it could mean more."""
    yield folder
    for pattern in patterns(key.name):
        *above, _ = pattern.split("/")
        with suppress(ValueError, NotImplementedError, OSError):
            if above:
                yield from (path for path in folder.glob("/".join(above)) if path.is_dir())
    yield from _matches(folder, key)


def _git(folder: Path, variables: Mapping[str, str], *words: str) -> str | None:
    import subprocess

    given = {name: value for name, value in variables.items() if name not in _ELSEWHERE}
    try:
        found = subprocess.run(
            ["git", *words], cwd=folder, env=given, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return found.stdout if found.returncode == 0 else None


def _git_files(folder: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    branch = (_git(folder, variables, "symbolic-ref", "-q", "HEAD") or "").strip()
    for name in (*_GIT_FILES, branch):
        told = _git(folder, variables, "rev-parse", "--git-path", name) if name else None
        if told:
            yield Path(os.path.normpath(folder / told.rstrip("\n")))
