"""The URLs below which `gpuenv serve` has pages and files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from provisioner.core.digest import Digest
from provisioner.core.project import normalise

if TYPE_CHECKING:
    from provisioner.core.simple_index import ListedFile

METADATA: Final = ".metadata"

_PROJECT: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_UNHASHED: Final = "unhashed"
_FILE_DEPTH: Final = 3  # A project, a hash and a name.


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """The page of the whole index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """The page of a project, by its normalised name."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of a project, or its metadata. `digest` is None where no page tells a hash."""

    project: str
    digest: Digest | None
    name: str
    is_metadata: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """Another spelling of a path."""

    path: str


Place = Root | Project | File | Moved


def place_of(path: str) -> Place | None:
    """What a path, as it was sent, stands for; None for what is not there."""
    if path == "/simple":
        return Moved(path="/simple/")
    if path == "/simple/":
        return Root()
    first, *rest = (unquote(part) for part in path.removeprefix("/").split("/"))
    if not path.startswith("/") or not all(map(_is_name, rest[:-1])):
        return None
    if first == "simple" and rest:
        return _project(path, rest)
    if first == "files" and len(rest) == _FILE_DEPTH and _is_name(rest[-1]):
        return _file(*rest)
    return None


def _project(path: str, rest: list[str]) -> Place | None:
    name = normalise(rest[0])
    if not _PROJECT.fullmatch(rest[0]) or rest[1:] not in ([], [""]):
        return None
    right = f"/simple/{name}/"
    return Project(name=name) if path == right else Moved(path=right)


def _file(project: str, digits: str, name: str) -> File | None:
    if not _PROJECT.fullmatch(project) or normalise(project) != project:
        return None
    try:
        digest = None if digits == _UNHASHED else Digest.parse(digits)
    except ValueError:
        return None
    return File(
        project=project,
        digest=digest,
        name=name.removesuffix(METADATA),
        is_metadata=name.endswith(METADATA),
    )


def file_url(project: str, file: ListedFile) -> str:
    """The URL of a file, relative to the page of its project; the same for good."""
    digits = file.digest.hex if file.digest else _UNHASHED
    return f"../../files/{project}/{digits}/{quote(file.name)}"


def as_index(url: str) -> str:
    """The index that a URL of a server means: with the final slash, and `/simple/` for none."""
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        return url
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=f"{path or '/simple'}/"))


def may_be_served(name: str) -> bool:
    """Whether a file name, as an upstream page has it, can stand in a URL and on a disk."""
    return _is_name(name) and not name.endswith(METADATA)


def _is_name(text: str) -> bool:
    """Whether it is one segment of a path, which leads nowhere else."""
    return text not in {"", ".", ".."} and not set(text) & set("/\\") and text.isprintable()
