"""Which index has a project: decided by rule, never by who answers first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.project import normalise
from provisioner.core.urls import is_remote, is_same_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.core.profile import Index

PYPI: Final = "https://pypi.org/simple/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The indexes of one project, the first of them first.

    `together`: each of them was named for this project, so that all their files are its own,
    and of one file name the first counts. Else the first index that has the project is the
    only one, and no other is asked (uv's `first-index`): another project of the same name
    elsewhere is not it.
    """

    indexes: tuple[str, ...]
    together: bool
    because: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    """What decides, the strongest first.

    `locked` and `sources` are indexes by the project's normalised name, `claims` are indexes
    of profiles with the packages that come only from them, `order` is for all others.
    """

    locked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    claims: tuple[Index, ...] = ()
    order: tuple[str, ...] = (PYPI,)

    def of(self, project: str) -> Route:
        """Where a project is from."""
        if found := self.locked.get(project):
            return Route(indexes=found, together=True, because="the lock takes it from there")
        if found := self.sources.get(project):
            return Route(indexes=found, together=True, because="`tool.uv.sources` names it")
        claiming = _each_once(index.url for index in self.claims if index.claims(project))
        # Several CUDA lines bind PyTorch to an index each, and none of them is meant here.
        if len(claiming) == 1:
            return Route(indexes=claiming, together=True, because="a profile names it")
        return Route(indexes=self.order, together=False, because="the first that has it")

    @property
    def indexes(self) -> tuple[str, ...]:
        """All of them."""
        named = (
            url for found in (self.locked, self.sources) for urls in found.values() for url in urls
        )
        return _each_once((*named, *(index.url for index in self.claims), *self.order))


def locked_indexes(lock: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The indexes that a `uv.lock` takes its packages from, by normalised name."""
    found: dict[str, tuple[str, ...]] = {}
    packages = lock.get("package")
    for package in packages if isinstance(packages, list) else []:
        source = package.get("source") if isinstance(package, dict) else None
        url = source.get("registry") if isinstance(source, dict) else None
        if isinstance(url, str) and is_remote(url):
            name = normalise(str(package.get("name")))
            found[name] = _each_once((*found.get(name, ()), url))
    return found


def _each_once(urls: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for url in urls:
        if not any(is_same_index(url, other) for other in kept):
            kept.append(url)
    return tuple(kept)
