"""Whether locked files are from the indexes that they have to be from."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.file_names import package_of, release_of
from provisioner.core.project import normalise
from provisioner.core.urls import (
    file_name,
    is_below,
    is_remote,
    is_same_index,
    origin,
    plain,
    without_secrets,
)
from provisioner.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from provisioner.core.digest import Digest
    from provisioner.core.plan import LockedFile
    from provisioner.core.profile import Index
    from provisioner.core.project import Manifest

_FILE_HOSTS: Final = {
    "https://pypi.org:443": "https://files.pythonhosted.org:443",
    "https://test.pypi.org:443": "https://test-files.pythonhosted.org:443",
    "https://download.pytorch.org:443": "https://download-r2.pytorch.org:443",
}
"""Where indexes have their files, if that is another origin: as their pages name them."""

_LINKED: Final = {"https://download.pytorch.org:443": frozenset({"https://pypi.nvidia.com:443"})}
"""Other indexes whose files an index names as its own (pytorch/test-infra, pull request 8473)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """The index that a package has to be from, and who says so."""

    name: str
    url: str
    who: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What is turned on in a project, and the environment that its markers are judged in."""

    extras: tuple[str, ...]
    groups: tuple[str, ...]
    without: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """An entry of `tool.uv.sources`; `index` is None where it names no index."""

    index: str | None
    marker: str | None
    extra: str | None
    group: str | None


def project_pins(
    tables: Iterable[Mapping[str, Any]],
    manifest: Manifest,
    turn: Turn,
    named: Mapping[str, str],
) -> dict[str, tuple[Pin, ...]]:
    """The indexes that `tool.uv.sources` names for what a project itself asks for.

    Sources count for direct requirements alone, and may be bound to a marker, an extra or a
    group (uv's documentation, "Dependency sources"). A package is pinned if each requirement
    of it that counts has a source that names an index.

    Args:
        tables: `[tool.uv]` of the project, and of the root of its workspace, if it has one.
        manifest: The project.
        turn: What counts of it.
        named: The indexes that variables name, which are stronger than the project's.

    Returns:
        By normalised name.
    """
    every = tuple(tables)
    if any(table.get("no-sources") is True for table in every):
        return {}
    sources = _sources(every)
    urls = {**_index_urls(every), **named}
    pins: dict[str, tuple[Pin, ...]] = {}
    free = {package for table in every for package in _overridden(table)}
    for package, extra, group in _asked(manifest, turn):
        found = [
            source
            for source in sources.get(package, ())
            if source.extra in {None, extra}
            and source.group in {None, group}
            and _holds(source.marker, turn.environment)
        ]
        remote = [source for source in found if is_remote(urls.get(source.index or ""))]
        if not remote or len(remote) < len(found):
            free.add(package)
        pins[package] = pins.get(package, ()) + tuple(
            Pin(name=source.index or "", url=urls[source.index or ""], who="`tool.uv.sources`")
            for source in remote
        )
    return {package: found for package, found in pins.items() if package not in free}


def source_indexes(
    tables: Iterable[Mapping[str, Any]], named: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Every index that `tool.uv.sources` names for a package, whatever turns it on.

    The arguments are those of `project_pins`; by normalised name.
    """
    every = tuple(tables)
    if any(table.get("no-sources") is True for table in every):
        return {}
    urls = {**_index_urls(every), **named}
    found = {
        package: tuple(
            dict.fromkeys(
                url for source in sources if is_remote(url := urls.get(source.index or "", ""))
            )
        )
        for package, sources in _sources(every).items()
    }
    return {package: indexes for package, indexes in found.items() if indexes}


def profile_pins(
    files: Iterable[LockedFile], indexes: Iterable[Index]
) -> dict[str, tuple[Pin, ...]]:
    """The index that claims the package of each file, by the package; the first that does."""
    every = tuple(indexes)
    pins: dict[str, tuple[Pin, ...]] = {}
    for file in files:
        package = package_of(file.name)
        index = next((index for index in every if index.claims(package)), None)
        if index and package:
            pins[package] = (Pin(name=index.name, url=index.url, who=index.origin),)
    return pins


def refuse_misplaced(  # noqa: PLR0913 - what a lock has, and what is known of it
    files: Iterable[LockedFile],
    pins: Mapping[str, tuple[Pin, ...]],
    named: Callable[[LockedFile], Iterable[LockedFile]],
    *,
    lock: str,
    hint: Callable[[Iterable[str]], str],
    indexes: Iterable[Index] = (),
    held: Container[Digest] = frozenset(),
) -> None:
    """Refuse a lock whose files are from other indexes than pins, or the lock itself, say.

    `named` are the files that kept pages of a package name, of whichever index; it is asked
    where a file lies at another origin than its index, which is common. Then it is refused if
    its index names it with other bytes, unless it is `held`, or if it lies below another one of
    `indexes`, or is named by it, and its own is not known to name it. A file for which the lock
    records no index has to lie at the origin of the pinned one, or to be named by it. `hint` is
    given the packages.

    Raises:
        PolicyError: with every file, and both indexes of each.
    """
    causes = []
    packages = []
    every = tuple(indexes)
    for file in files:
        package = package_of(file.name) or ""
        cause = _misplaced(file, pins.get(package, ()), named, held) or _astray(
            file, every, named, held
        )
        if cause:
            causes.append(cause)
            packages.append(package)
    if causes:
        message = f"`{lock}` takes files from other indexes than it should"
        raise PolicyError(message, causes=tuple(causes), hint=hint(packages), code="wrong-index")


def _misplaced(
    file: LockedFile,
    pins: tuple[Pin, ...],
    named: Callable[[LockedFile], Iterable[LockedFile]],
    held: Container[Digest],
) -> str | None:
    """Why a file is not from where it should be, if it is not."""
    if file.index is None:
        if not pins or any(_has_at_home(pin.url, file) for pin in pins):
            return None
        known = [item.index or "" for item in named(file) if item.digest == file.digest]
        right = any(is_same_index(index, pin.url) for index in known for pin in pins)
        return None if right else _both(file, pins)
    if pins and not any(is_same_index(file.index, pin.url) for pin in pins):
        return _both(file, pins)
    if file.digest in held or _has_at_home(file.index, file):
        return None
    others = [
        item
        for item in named(file)
        if item.name == file.name and is_same_index(item.index or "", file.index)
    ]
    if not others or any(item.digest == file.digest for item in others):
        return None
    return (
        f"`{file.name}` at {file.key} has sha256 `{file.digest}`, "
        f"{without_secrets(file.index)} names {others[0].key} with `{others[0].digest}`"
    )


def _astray(
    file: LockedFile,
    indexes: tuple[Index, ...],
    named: Callable[[LockedFile], Iterable[LockedFile]],
    held: Container[Digest],
) -> str | None:
    """Why a file is from another index than the lock records for it, if it is.

    It lies below that other one, and neither below its own nor where a page of it says; or a
    page of that other one names it, and one of its own has the release without it.
    """
    own, package = file.index, package_of(file.name)
    if own is None or is_below(file.url, own) or origin(file.url) in _LINKED.get(origin(own), ()):
        return None
    others = [
        index
        for index in indexes
        if not (is_same_index(index.url, own) or is_below(own, index.url))
        and (not index.packages or index.claims(package))
    ]
    other = next((index for index in others if _lies_in(file.url, index.url, own)), None)
    if not others or (other is None and (file.digest in held or _has_at_home(own, file))):
        return None
    known = tuple(named(file))
    of_own = [item for item in known if is_same_index(item.index or "", own)]
    if any(item.digest == file.digest for item in of_own):
        return None
    if any(release_of(item.name) == release_of(file.name) for item in of_own):
        naming = [item.index or "" for item in known if item.key == file.key]
        named_by = (i for i in others if any(is_same_index(url, i.url) for url in naming))
        other = other or next(named_by, None)
    if other is None:
        return None
    return (
        f"`{file.name}` is from {without_secrets(other.url)}, at {file.key}, "
        f"the lock says {without_secrets(own)}"
    )


def _lies_in(url: str, index: str, own: str) -> bool:
    """Whether a file lies in an index; `…/simple` often has its files beside it.

    Indexes of one server may share what is beside them.
    """
    return is_below(
        url, index if origin(index) == origin(own) else plain(index).removesuffix("/simple")
    )


def _both(file: LockedFile, pins: tuple[Pin, ...]) -> str:
    places = " or ".join(f"`{pin.name}` ({without_secrets(pin.url)})" for pin in pins)
    found = without_secrets(file.index or file.url)
    return f"`{file.name}` is from {found}, {pins[0].who} says {places}"


def _has_at_home(index: str, file: LockedFile) -> bool:
    """Whether a file lies where an index is known to have its files."""
    here = origin(file.url)
    return here in {origin(index), _FILE_HOSTS.get(origin(index))}


class LockedReleases:
    """What locks take from where, to tell when a client is led to something else."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], list[LockedFile]] = {}

    def add(self, file: LockedFile) -> None:
        """Learn of a file that a lock names."""
        if release := release_of(file.name):
            self._files.setdefault(release, []).append(file)

    def refuse_other(self, url: str, file: LockedFile | None) -> None:
        """Refuse a file of a locked release that is from another index, with other bytes.

        `file` is what a page has said of it; None where no hash of it is known.

        Raises:
            PolicyError: with both indexes.
        """
        release = release_of(file_name(url)) if self._files else None
        locked = self._files.get(release, []) if release else []
        if not locked or any(_is_one(other, url, file) for other in locked):
            return
        of_lock = locked[0]
        theirs = (file.index if file else None) or url
        hashed = f"sha256 `{file.digest}`" if file else "no hash"
        ours = without_secrets(of_lock.index or of_lock.url)
        message = f"`{file_name(url)}` is asked for from another index than the lock's"
        raise PolicyError(
            message,
            causes=(
                f"the lock takes it from {ours}, with sha256 `{of_lock.digest}`",
                f"what is built needs it from {without_secrets(theirs)}, with {hashed}",
            ),
            hint="name one index for it, in `tool.uv.sources` or by the order of the indexes",
            code="wrong-index",
        )


def with_indexes(lock: str, index_of: Callable[[str], str | None]) -> str:
    """A lock that uv resolved from requirements, with the index of each package.

    uv leaves them out of such a lock (PEP 751, `packages.index`). A package gets one if all
    its files are known to be from the same.
    """
    head, *blocks = lock.split(_PACKAGE)
    return _PACKAGE.join([head, *(_with_index(block, index_of) for block in blocks)])


_PACKAGE: Final = "[[packages]]\n"


def _with_index(block: str, index_of: Callable[[str], str | None]) -> str:
    data = tomllib.loads(block)
    files = [*data.get("wheels", ()), *([data["sdist"]] if "sdist" in data else [])]
    found = {index_of(without_secrets(file.get("url", ""))) for file in files}
    index = found.pop() if len(found) == 1 else None
    if index is None or "index" in data:
        return block
    return f"index = {json.dumps(index)}\n{block}"


def _is_one(locked: LockedFile, url: str, file: LockedFile | None) -> bool:
    """Whether what is asked for is a locked file, has its bytes, or is from its index."""
    if locked.key == without_secrets(url):
        return True
    if file is None:
        return origin(locked.url) == origin(url)
    if locked.digest == file.digest or file.index is None:
        return True
    if locked.index is not None:
        return is_same_index(locked.index, file.index)
    return is_below(locked.url, file.index)


def _asked(manifest: Manifest, turn: Turn) -> Iterable[tuple[str, str | None, str | None]]:
    """The packages that a project itself asks for, and the extra or group that does."""
    from packaging.requirements import InvalidRequirement, Requirement

    groups = dict.fromkeys([*sorted(manifest.default_groups - set(turn.without)), *turn.groups])
    lists = [
        (manifest.dependencies, None, None),
        *((manifest.of_extras.get(name, ()), name, None) for name in turn.extras),
        *((manifest.of_groups.get(name, ()), None, name) for name in groups),
    ]
    for texts, extra, group in lists:
        for text in texts:
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue  # uv says what is wrong with it.
            marker = str(requirement.marker) if requirement.marker else None
            if _holds(marker, {**turn.environment, "extra": extra or ""}):
                yield normalise(requirement.name), extra, group


def _holds(marker: str | None, environment: Mapping[str, str]) -> bool:
    """Whether a marker holds; one that cannot be read does not."""
    if not marker:
        return True
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    try:
        return Marker(marker).evaluate({"extra": "", **environment})
    except (InvalidMarker, UndefinedEnvironmentName):
        return False


def _sources(tables: Iterable[Mapping[str, Any]]) -> dict[str, tuple[_Source, ...]]:
    """The sources of each package; a project's own replace those of its workspace."""
    found: dict[str, tuple[_Source, ...]] = {}
    for table in tables:
        for name, value in _table(table, "sources").items():
            items = value if isinstance(value, list) else [value]
            read = tuple(_source(item) for item in items if isinstance(item, dict))
            found.setdefault(normalise(name), read)
    return found


def _source(item: Mapping[str, Any]) -> _Source:
    def text(key: str) -> str | None:
        value = item.get(key)
        return value if isinstance(value, str) else None

    extra, group = text("extra"), text("group")
    return _Source(
        index=text("index"),
        marker=text("marker"),
        extra=normalise(extra) if extra else None,
        group=normalise(group) if group else None,
    )


def _index_urls(tables: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    urls: dict[str, str] = {}
    for table in tables:
        items = table.get("index")
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict) and isinstance(item.get("url"), str):
                urls.setdefault(str(item.get("name")), item["url"])
    return urls


def _overridden(table: Mapping[str, Any]) -> Iterable[str]:
    """Packages of which `override-dependencies` says what is needed instead."""
    from packaging.requirements import InvalidRequirement, Requirement

    items = table.get("override-dependencies")
    for item in items if isinstance(items, list) else []:
        try:
            yield normalise(Requirement(str(item)).name)
        except InvalidRequirement:
            continue


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}
