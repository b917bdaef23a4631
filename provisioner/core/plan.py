"""From a lock to the files that a target needs, and what of them is still missing."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from packaging.pylock import (
    PackageDirectory,
    PackageVcs,
    Pylock,
    PylockSelectError,
    PylockValidationError,
)

from provisioner.core.digest import Digest
from provisioner.core.tags import markers, wheel_tags
from provisioner.core.urls import file_name, is_remote, without_secrets
from provisioner.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from packaging.pylock import PackageArchive, PackageSdist, PackageWheel

    from provisioner.core.host import Platform
    from provisioner.core.interpreter import Interpreter


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedFile:
    """A wheel or source distribution that a lock names; `size` in bytes, where it is known.

    `index` is the URL of the index that it is from, where the lock or page tells; `package`
    is the package, normalised, that a lock names it for. `estimate` is a size that a server has
    told without the file: for what is planned and shown, never to judge bytes by.
    """

    name: str
    url: str
    digest: Digest
    size: int | None
    index: str | None = field(default=None, compare=False)
    package: str | None = field(default=None, compare=False)
    estimate: int | None = field(default=None, compare=False)

    @property
    def likely_size(self) -> int | None:
        """The size in bytes, or else the estimate."""
        return self.estimate if self.size is None else self.size

    @property
    def key(self) -> str:
        """The URL as clients ask for it."""
        return without_secrets(self.url)


@dataclass(frozen=True, kw_only=True, slots=True)
class Substitution:
    """A stub source distribution, which a lock names, and the wheel that it stands for.

    All that the build of a stub does is to fetch that wheel from another index.
    """

    stub: LockedFile
    wheel: LockedFile


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedSet:
    """What a lock means for one target: files from indexes, and folders of this machine.

    `known` are all files that it names with a SHA-256, for other targets too: an installer's
    settings may make it take another one. `substitutions` are the wheels that stub source
    distributions among `files` stand for. `elsewhere` are packages that are neither: those of
    repositories, and of files of this machine.
    """

    files: tuple[LockedFile, ...]
    folders: tuple[str, ...] = ()
    known: tuple[LockedFile, ...] = ()
    substitutions: tuple[Substitution, ...] = ()
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchPlan:
    """Files of some locks, each once: those that the store lacks, and those that it holds."""

    missing: tuple[LockedFile, ...]
    held: tuple[LockedFile, ...]


def read_lock(text: str, interpreter: Interpreter, platform: Platform, origin: str) -> LockedSet:
    """Read a PEP 751 lock and choose the files for a target.

    Raises:
        LockError: the lock is malformed, does not support the target, or lacks a SHA-256.
    """
    try:
        lock = Pylock.from_dict(tomllib.loads(text))
        chosen = list(
            lock.select(
                environment=markers(interpreter, platform),  # type: ignore[arg-type]
                tags=wheel_tags(interpreter, platform),
            )
        )
    except (tomllib.TOMLDecodeError, PylockValidationError) as error:
        message = f"lock `{origin}` is malformed"
        raise LockError(message, causes=(str(error),), code="lock-malformed") from error
    except PylockSelectError as error:
        message = f"lock `{origin}` has no files for the target"
        raise LockError(message, causes=_causes(error), code="lock-unsupported") from error
    files = []
    folders = []
    elsewhere = []
    faults = []
    for package, item in chosen:
        if package.directory is not None:
            folders.append(package.directory.path)
        elif isinstance(item, (PackageVcs, PackageDirectory)) or not is_remote(item.url):
            elsewhere.append(package.name)
        else:
            try:
                file = _file(item, item.url or "", package.index)
                files.append(replace(file, package=package.name))
            except ValueError as error:
                faults.append(f"`{package.name}`: {error}")
    if faults:
        message = f"lock `{origin}` names files that cannot be verified"
        raise LockError(message, causes=tuple(faults))
    return LockedSet(
        files=tuple(files),
        folders=tuple(folders),
        known=tuple(_known(lock)),
        elsewhere=tuple(elsewhere),
    )


def files_by_url(uv_lock: Mapping[str, Any]) -> tuple[LockedFile, ...]:
    """The files that a parsed `uv.lock` takes from a URL, whoever needs them.

    uv looks at each when it judges the lock, also at those of extras that are never turned on.
    """
    packages = uv_lock.get("package")
    found = []
    for package in packages if isinstance(packages, list) else ():
        # What is no lock is for uv to say.
        with suppress(AttributeError, LookupError, TypeError, ValueError):
            url = package["source"].get("url")
            item = package.get("sdist") or package["wheels"][0]
            digest = Digest.parse(item["hash"].removeprefix("sha256:"))
            if is_remote(url):
                name, size = file_name(url), item.get("size")
                found.append(LockedFile(name=name, url=url, digest=digest, size=size))
    return tuple(found)


def plan_fetch(files: Iterable[LockedFile], held: Container[Digest]) -> FetchPlan:
    """Split files, each digest once, into those that are missing and those that are held."""
    unique = {file.digest: file for file in reversed(tuple(files))}
    ordered = sorted(unique.values(), key=lambda file: (-(file.likely_size or 0), file.name))
    return FetchPlan(
        missing=tuple(file for file in ordered if file.digest not in held),
        held=tuple(file for file in ordered if file.digest in held),
    )


def in_turns(plan: FetchPlan, groups: Iterable[Iterable[LockedFile]]) -> FetchPlan:
    """The plan with the missing files of the first group first, then those of the next."""
    turns: dict[Digest, int] = {}
    last = 0
    for turn, files in enumerate(groups):
        last = turn + 1
        for file in files:
            turns.setdefault(file.digest, turn)
    missing = sorted(plan.missing, key=lambda file: turns.get(file.digest, last))
    return FetchPlan(missing=tuple(missing), held=plan.held)


def _known(lock: Pylock) -> Iterator[LockedFile]:
    for package in lock.packages:
        for item in (*(package.wheels or ()), package.sdist, package.archive):
            if item is not None and is_remote(item.url) and "sha256" in item.hashes:
                try:
                    yield _file(item, item.url or "", package.index)
                except ValueError:
                    continue  # It matters only where it is chosen, and is refused there.


def _file(
    item: PackageWheel | PackageSdist | PackageArchive, url: str, index: str | None
) -> LockedFile:
    """Raises ValueError where the URL, or the hash, is none."""
    sha256 = item.hashes.get("sha256")
    if sha256 is None:
        known = ", ".join(f"`{name}`" for name in item.hashes) or "none"
        message = f"`{file_name(url)}` has no SHA-256, its hashes are {known}"
        raise ValueError(message)
    return LockedFile(
        name=file_name(url), url=url, digest=Digest.parse(sha256), size=item.size, index=index
    )


def _causes(error: BaseException) -> tuple[str, ...]:
    return tuple(line.strip() for line in str(error).splitlines() if line.strip())
