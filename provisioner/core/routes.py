"""Which index has a project: decided by rule, never by who answers first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

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
    elsewhere is not it. `flat` are pages whose files of this project count beside all that.
    """

    indexes: tuple[str, ...]
    together: bool
    because: str
    flat: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    """What decides, the strongest first.

    `locked` and `sources` are indexes by the project's normalised name, `claims` are indexes
    of profiles with the packages that come only from them, `order` is for all others, and so
    are the pages of `flat`, which list files of any project.
    """

    locked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    claims: tuple[Index, ...] = ()
    order: tuple[str, ...] = (PYPI,)
    flat: tuple[str, ...] = ()

    def of(self, project: str) -> Route:
        """Where a project is from."""
        if found := self.locked.get(project):
            return Route(indexes=found, together=True, because="the lock takes it from there")
        if found := self.sources.get(project):
            return Route(indexes=found, together=True, because="`tool.uv.sources` names it")
        if claiming := self._claiming(project):
            return Route(indexes=claiming, together=True, because="a profile names it")
        return Route(
            indexes=self.order, together=False, because="the first that has it", flat=self.flat
        )

    @property
    def indexes(self) -> tuple[str, ...]:
        """All of them."""
        named = (
            url for found in (self.locked, self.sources) for urls in found.values() for url in urls
        )
        claims = (index.url for index in self.claims)
        return _each_once((*named, *claims, *self.order, *self.flat))

    def all_of(self, project: str) -> tuple[str, ...]:
        """All indexes that a client may ask for a project, the likeliest first.

        What `tool.uv.sources` binds is still looked for in all of `order` where it is a build
        requirement of another project.
        """
        named = (*self.locked.get(project, ()), *self.sources.get(project, ()))
        return _each_once((*named, *self._claiming(project), *self.order))

    def has_in_order(self, index: str) -> bool:
        """Whether an index is one of those for any project."""
        return any(is_same_index(index, other) for other in self.order)

    def _claiming(self, project: str) -> tuple[str, ...]:
        """The one index that a profile binds a project to.

        Several CUDA lines bind PyTorch to an index each, and none of them is meant here.
        """
        found = _each_once(index.url for index in self.claims if index.claims(project))
        return found if len(found) == 1 else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Where to look for a file that something names which we do not know.

    `only_first`: an index that has a project hides those after it in `order`, as uv's
    `first-index` has it.
    """

    routes: Routes = field(default_factory=lambda: Routes(order=()))
    only_first: bool = True


def project_page(index: str, project: str) -> str:
    """The page of a project, where uv asks an index for it; a flat one has all on one page."""
    parts = urlsplit(index)
    if parts.path.endswith(".html"):
        return index
    return parts._replace(path=f"{parts.path.removesuffix('/')}/{project}/").geturl()


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
