"""What a server of ours is asked, and the answers that there are, whatever serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from provisioner.core.index_policy import IMMUTABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

FAILED: Final = 424
"""The status of what cannot be had: no client retries it or takes it for "no such package"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a client asks for: an absolute URL, and headers in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileAnswer:
    """A file of the store; `tag` is its hash. Those of a known hash never change."""

    path: Path
    tag: str
    cache_control: str = IMMUTABLE


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrivingAnswer:
    """A file of a known hash and size that is still arriving.

    Each of `stops` is the offset up to which `file` may be sent, the same one again where nothing
    more comes for a moment, and the last one its size. An exception, or an end before that,
    breaks the connection off.
    """

    file: BinaryIO
    size: int
    stops: Iterator[int]
    tag: str
    cache_control: str = IMMUTABLE


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyAnswer:
    """A small answer that is in memory."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayAnswer:
    """An answer that is passed on as it arrives, and not kept."""

    status: int
    headers: Mapping[str, str]
    blocks: Iterator[bytes]


Reply = FileAnswer | ArrivingAnswer | BodyAnswer | RelayAnswer


class Origin(Protocol):
    """Whoever knows the answers. Called from many threads at once."""

    def answer(self, request: Request) -> AbstractContextManager[Reply]:
        """Answer one request; never raises."""
