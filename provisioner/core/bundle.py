"""A bundle for a machine without a network: what its manifest, the first member, says.

The other members are named by their hashes, `blobs/<hex>`, `pages/<hex>` and `locks/<hex>`, and
a reader compares these names and nothing more: none ever becomes a path.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.core.blob_record import Built, Origin, built_from_json, built_to_json
from provisioner.core.digest import Digest
from provisioner.core.first_seen import FirstSeen, first_seen_from_json
from provisioner.core.urls import is_remote, without_query, without_secrets
from provisioner.errors import GpuenvError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SEED_LOCK: Final = "--seed"
"""What the lock is called that has pip, which environments get beside their own."""

Kind = Literal["locks", "pages", "blobs"]

_HEADERS: Final = frozenset({"cache-control", "content-type", "etag", "last-modified", "location"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A member behind the manifest; `name` is what people call it."""

    kind: Kind
    digest: Digest
    size: int
    name: str

    @property
    def path(self) -> str:
        """Its name in the bundle."""
        return f"{self.kind}/{self.digest}"


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledBlob:
    """A blob, what is known of it, and the projects, by name, that asked for it.

    `needs` is what a source distribution is built with, None where that is not known; `built`
    is set for a wheel that was built where the bundle comes from.
    """

    digest: Digest
    size: int
    origins: tuple[Origin, ...] = ()
    needs: frozenset[Digest] | None = None
    projects: tuple[str, ...] = ()
    built: Built | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        if self.origins:
            return self.origins[0].name
        return self.built.name if self.built else self.digest.hex


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledPage:
    """A kept page: its body, or the blob that its URL turned out to be.

    `key` is the URL, for a page with the format that was asked for in a second line; `stored`
    is in seconds since the epoch.
    """

    key: str
    url: str
    headers: Mapping[str, str]
    stored: float
    digest: Digest | None = None
    body: Digest | None = None
    size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class BundledLock:
    """The copy of a project's lock."""

    project: str
    name: str
    digest: Digest
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything that a bundle has; `name` is what it was made for."""

    name: str
    blobs: tuple[BundledBlob, ...]
    first_seen: tuple[FirstSeen, ...] = ()
    pages: tuple[BundledPage, ...] = ()
    locks: tuple[BundledLock, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the blobs."""
        return sum(blob.size for blob in self.blobs)

    def members(self) -> dict[str, Member]:
        """The members in their order, each once; the large ones come last."""
        found: dict[str, Member] = {}
        for member in self.named():
            found.setdefault(member.path, member)
        return dict(sorted(found.items(), key=lambda item: (_ORDER[item[1].kind], item[0])))

    def named(self) -> Iterator[Member]:
        """The members as often as they are named."""
        for lock in self.locks:
            yield Member(kind="locks", digest=lock.digest, size=lock.size, name=lock.name)
        for page in self.pages:
            if page.body:
                yield Member(kind="pages", digest=page.body, size=page.size, name=page.url)
        for blob in self.blobs:
            yield Member(kind="blobs", digest=blob.digest, size=blob.size, name=blob.name)

    def text(self) -> str:
        """The written form: equal manifests are equal byte for byte."""
        data = {
            "gpuenv-bundle": FORMAT,
            "name": self.name,
            "locks": [
                {
                    "project": item.project,
                    "name": item.name,
                    "sha256": item.digest.hex,
                    "size": item.size,
                }
                for item in sorted(self.locks, key=lambda item: (item.project, item.name))
            ],
            "blobs": [
                {
                    "sha256": item.digest.hex,
                    "size": item.size,
                    "origins": [
                        {"name": each.name, "url": each.url, "index": each.index}
                        for each in item.origins
                    ],
                    "needs": None
                    if item.needs is None
                    else sorted(each.hex for each in item.needs),
                    "projects": sorted(item.projects),
                    **({"built": built_to_json(item.built)} if item.built else {}),
                }
                for item in sorted(self.blobs, key=lambda item: item.digest)
            ],
            "first_seen": [
                item.to_json()
                for item in sorted(self.first_seen, key=lambda item: (item.index, item.name))
            ],
            "pages": [
                {
                    "key": item.key,
                    "url": item.url,
                    "headers": dict(sorted(item.headers.items())),
                    "stored": item.stored,
                    "sha256": item.digest.hex if item.digest else None,
                    "body": item.body.hex if item.body else None,
                    "size": item.size,
                }
                for item in sorted(self.pages, key=lambda item: item.key)
            ],
        }
        return json.dumps(data, indent=1) + "\n"


_ORDER: Final[dict[Kind, int]] = {"locks": 0, "pages": 1, "blobs": 2}


def read_manifest(text: bytes) -> Manifest:
    """Read the written form; what it says is believed of nothing but the bundle itself.

    Raises:
        GpuenvError: it is of another format, or none.
        IntegrityError: it contradicts itself.
    """
    try:
        data = json.loads(text)
        found = data["gpuenv-bundle"]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        why = "it does not begin with a manifest"
        raise unknown_format(why) from error
    if found != FORMAT:
        why = f"this gpuenv knows format `{FORMAT}`, it has `{found}`"
        raise unknown_format(why)
    try:
        manifest = _parse(data)
        _check(manifest)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = "the manifest of the bundle is damaged"
        cause = f"{type(error).__name__}: {error}"
        raise IntegrityError(message, causes=(cause,), code="bundle-damaged") from error
    return manifest


def unknown_format(why: str) -> GpuenvError:
    """What is no bundle that this version can read."""
    message = "this is no bundle that can be imported"
    return GpuenvError(message, causes=(why,), code="bundle-format")


def _parse(data: Mapping[str, Any]) -> Manifest:
    """Raises AttributeError, KeyError, TypeError or ValueError where it is damaged."""
    return Manifest(
        name=_shown(data["name"]),
        locks=tuple(
            BundledLock(
                project=_shown(item["project"]),
                name=_shown(item["name"]),
                digest=Digest.parse(item["sha256"]),
                size=_count(item["size"]),
            )
            for item in data["locks"]
        ),
        blobs=tuple(
            BundledBlob(
                digest=Digest.parse(item["sha256"]),
                size=_count(item["size"]),
                origins=tuple(
                    Origin(
                        name=_shown(each["name"]),
                        url=without_query(_shown(each["url"])),
                        index=without_query(_shown(each["index"])) if each["index"] else None,
                    )
                    for each in item["origins"]
                ),
                needs=None
                if item["needs"] is None
                else frozenset(Digest.parse(each) for each in item["needs"]),
                projects=tuple(_shown(each) for each in item["projects"]),
                built=_built(item["built"]) if item.get("built") else None,
            )
            for item in data["blobs"]
        ),
        first_seen=tuple(_seen(item) for item in data["first_seen"]),
        pages=tuple(_page(item) for item in data["pages"]),
    )


def _built(item: Mapping[str, Any]) -> Built:
    _shown(item["name"])
    return built_from_json(item)


def _seen(item: Mapping[str, Any]) -> FirstSeen:
    seen = first_seen_from_json(item)
    for text in (seen.index, seen.name, seen.url):
        _shown(text)
    _time(seen.seen)
    return seen


def _page(item: Mapping[str, Any]) -> BundledPage:
    url = _shown(item["url"])
    key = item["key"]
    if url != without_secrets(url) or not is_remote(url):
        message = f"`{url}` is no URL of a page"
        raise ValueError(message)
    if key.partition("\n")[0] != url:
        message = f"`{url}` is kept under another URL"
        raise ValueError(message)
    headers = {name: _shown(value) for name, value in item["headers"].items() if name in _HEADERS}
    return BundledPage(
        key=key,
        url=url,
        headers=headers,
        stored=_time(item["stored"]),
        digest=Digest.parse(item["sha256"]) if item["sha256"] else None,
        body=Digest.parse(item["body"]) if item["body"] else None,
        size=_count(item["size"]),
    )


def _check(manifest: Manifest) -> None:
    """Raises ValueError where parts do not fit together."""
    held = {blob.digest for blob in manifest.blobs}
    if len(held) < len(manifest.blobs):
        message = "a file is named twice"
        raise ValueError(message)
    names: dict[tuple[str, str], Digest] = {}
    for seen in manifest.first_seen:
        if seen.digest not in held or names.setdefault((seen.index, seen.name), seen.digest) != (
            seen.digest
        ):
            message = f"`{seen.name}` was seen with bytes that are not in it"
            raise ValueError(message)
    for page in manifest.pages:
        lost = page.digest is not None and page.digest not in held
        if lost or (page.digest is None) == (page.body is None):
            message = f"`{page.url}` stands for nothing that is in it"
            raise ValueError(message)
    sizes: dict[str, int] = {}
    for member in manifest.named():
        if sizes.setdefault(member.path, member.size) != member.size:
            message = f"`{member.path}` is named with several sizes"
            raise ValueError(message)


def _shown(text: object) -> str:
    """A text that a terminal can be shown."""
    if not isinstance(text, str) or not text.isprintable():
        message = f"{text!r} is no text"
        raise ValueError(message)
    return text


def _count(number: object) -> int:
    if type(number) is not int or number < 0:
        message = f"{number!r} is no number of bytes"
        raise ValueError(message)
    return number


def _time(seconds: object) -> float:
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        message = f"{seconds!r} is no time"
        raise ValueError(message)
    return float(seconds)
