"""What gpuenv does with a URL: how long its answer may be used again, by which rule, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from provisioner.adapters import uv_settings
from provisioner.adapters.profiles import load_profiles, profile_files, profile_folders
from provisioner.adapters.projects import find_home
from provisioner.adapters.records import FirstSeenNames
from provisioner.core.first_seen import index_of
from provisioner.core.index_policy import SHIPPED, policy_for, subject_of
from provisioner.core.pages import named_files
from provisioner.core.plan import LockedFile
from provisioner.core.profile import Index
from provisioner.core.urls import (
    is_below,
    is_remote,
    is_same_index,
    plain,
    without_query,
    without_secrets,
)
from provisioner.errors import GpuenvError, PolicyError, ProfileError, UsageError
from provisioner.workflow.place import folder_of, store_of
from provisioner.workflow.workshop import connect

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provisioner.adapters.store import Store, StoredPage
    from provisioner.core.first_seen import FirstSeen
    from provisioner.core.index_policy import Policy, Subject
    from provisioner.core.profile import Profile
    from provisioner.workflow.world import Options, World

_CONNECT_SECONDS: Final = 5.0
_OK: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The `Cache-Control` of an index's answer, and how it is known.

    `when` is in seconds since the epoch; `words` say why there is none, or which status came.
    """

    known: Literal["kept", "asked", "unknown"]
    value: str = ""
    when: float | None = None
    etag: str | None = None
    last_modified: str | None = None
    words: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The blob that a URL was or is, if the store holds it, and how its name was first seen."""

    sha256: str | None
    bytes: int
    first_seen: FirstSeen | None

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        seen = self.first_seen.to_json() if self.first_seen else None
        return {"sha256": self.sha256, "bytes": self.bytes, "first_seen": seen}


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyResult:
    """A URL, what it stands for, and what happens to it.

    `named_by` is how the index is known: by its URL, or by a page or record that names the
    file. `age` is that of the kept answer, in seconds.
    """

    subject: Subject
    index: Index | None
    named_by: str | None
    header: Header
    policy: Policy
    age: float | None
    held: Held

    def to_json(self) -> dict[str, Any]:
        """The fields of `store policy --json`."""
        rule, subject = self.policy.rule, self.subject
        return {
            "url": without_secrets(subject.url),
            "kind": subject.kind,
            "package": subject.package,
            "hashed": subject.is_hashed,
            "index": None
            if self.index is None
            else {
                "name": self.index.name or None,
                "url": without_secrets(self.index.url),
                "origin": self.index.origin,
                "named_by": self.named_by,
            },
            "header": self.header.to_json(),
            "rule": None
            if rule is None
            else {
                "index": rule.name or None,
                "url": without_secrets(rule.url),
                "packages": list(rule.packages),
                "api": rule.cache_control.api,
                "files": rule.cache_control.files,
                "origin": rule.origin,
            },
            "policy": {
                "cache_control": self.policy.cache_control,
                "lifetime": self.policy.lifetime,
                "immutable": self.policy.is_immutable,
                "because": self.policy.because,
            },
            "age": self.age,
            "held": self.held.to_json(),
        }


def store_policy(world: World, options: Options, url: str) -> PolicyResult:
    """Explain a URL. An index that cannot be reached is part of the explanation.

    Raises:
        UsageError: it is no http or https URL.
        ProfileError: a profile is not valid, or the named one is not known.
    """
    if not _is_url(url):
        message = f"`{without_secrets(url)}` is not an http or https URL"
        raise UsageError(message, hint="`gpuenv store policy https://pypi.nvidia.com/tensorrt/`")
    folder, is_project = folder_of(world, options)
    where = (world.variables, world.home, folder)
    home = find_home(folder, is_project=is_project) if is_project else None
    profiles = load_profiles(profile_files(profile_folders(home, world.variables, world.home)))
    # As in `prepare`, which takes those of the profiles that it prepares first.
    chosen = [profile for profile in profiles if profile.name == options.profile]
    if options.profile and not chosen:
        message = f"there is no profile `{options.profile}`"
        raise ProfileError(message, hint="`gpuenv profiles` lists them")
    rules = (
        *uv_settings.index_policies(*where),
        *(index for profile in chosen for index in profile.indexes),
        *_united(profiles),
        *SHIPPED,
    )
    store = store_of(world, options)
    found, by = _found(store, url) if subject_of(url).kind == "file" else (None, None)
    subject = subject_of(url, index=found.index if found else None, is_hashed=found is not None)
    kept = _kept(store, url)
    header = _told(kept) if kept else _asked(world, options, folder, rules, url)
    others = (Index(name="", url=url) for url in uv_settings.index_urls(*where))
    place = subject.index or url
    index = next((index for index in (*rules, *others) if _is_at(place, index)), None)
    if index is None and subject.index:
        index = Index(name="", url=subject.index)
    digest = found.digest if found else kept.digest if kept else None
    return PolicyResult(
        subject=subject,
        index=index,
        named_by=by if subject.index else "its URL lies below it" if index else None,
        header=header,
        policy=policy_for(subject, header.value, rules),
        age=max(0.0, world.now() - kept.stored) if kept else None,
        held=Held(
            sha256=digest.hex if digest and digest in store else None,
            bytes=store.size(digest) if digest else 0,
            first_seen=_first_seen(store, found) if found else None,
        ),
    )


def _united(profiles: Iterable[Profile]) -> Iterable[Index]:
    """The indexes of profiles, each once with all that say the same of it."""
    origins: dict[Index, list[str]] = {}
    for profile in profiles:
        for index in profile.indexes:
            origins.setdefault(index, []).append(index.origin)
    return (replace(index, origin=", ".join(said)) for index, said in origins.items())


def _is_url(url: str) -> bool:
    try:
        return is_remote(url) and bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        return False


def _is_at(place: str, index: Index) -> bool:
    return is_same_index(place, index.url) or is_below(place, index.url)


def _found(store: Store, url: str) -> tuple[LockedFile | None, str | None]:
    """A file with the hash that the store knows of it, and how it knows its index."""
    place = without_query(url)
    for seen in FirstSeenNames(store.root, store.lower).seen():
        if seen.url == place:
            file = LockedFile(
                name=seen.name, url=url, digest=seen.digest, size=None, index=seen.index
            )
            return file, "it came from there"
    package = subject_of(url).package
    for page in store.pages_of(lambda other: subject_of(other).package == package):
        for file in named_files(page.body, page.headers, page.url):
            if without_query(file.url) == place:
                return file, "a page of it names the file"
    return None, None


def _first_seen(store: Store, file: LockedFile) -> FirstSeen | None:
    return FirstSeenNames(store.root, store.lower).read(index_of(file), file.name)


def _kept(store: Store, url: str) -> StoredPage | None:
    """The last answer that was kept for a URL, of those in all the forms that were asked for."""
    pages = store.pages_of(lambda other: plain(other) == plain(url))
    return max(pages, key=lambda page: page.stored, default=None)


def _told(page: StoredPage) -> Header:
    return Header(
        known="kept",
        value=page.headers.get("cache-control", ""),
        when=page.stored,
        etag=page.headers.get("etag"),
        last_modified=page.headers.get("last-modified"),
        words=f"it leads to {page.headers['location']}" if "location" in page.headers else None,
    )


def _asked(
    world: World, options: Options, folder: Path, indexes: tuple[Index, ...], url: str
) -> Header:
    """What the index says now, where nothing of it was kept."""
    if options.offline:
        return Header(known="unknown", words="nothing was kept, and `--offline` forbids to ask")
    http = connect(
        world,
        folder,
        connections=1,
        indexes=indexes,
        tries=1,
        connect_seconds=_CONNECT_SECONDS,
    )
    try:
        with http.get(url, method="HEAD") as answer:
            status, headers = answer.status, answer.headers
    except GpuenvError as error:
        hint = (error.hint,) if isinstance(error, PolicyError) and error.hint else ()
        words = "; ".join((error.message, *error.causes, *hint))
        return Header(known="unknown", words=f"nothing was kept, and asking failed: {words}")
    finally:
        http.close()
    return Header(
        known="asked",
        value=headers.get("cache-control", "") if status == _OK else "",
        when=world.now(),
        etag=headers.get("etag"),
        last_modified=headers.get("last-modified"),
        words=None if status == _OK else f"the index answers with status {status}",
    )
