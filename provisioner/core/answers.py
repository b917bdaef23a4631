"""What a server's answer means for a file, or a part of one, that was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Final

from provisioner.core.ranges import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

BUSY: Final = frozenset({429, 503})
"""The server asks for fewer requests."""

_OK: Final = 200
_PARTIAL: Final = 206
_OUT_OF_RANGE: Final = 416
# No file has more bytes than these digits can name, and Python converts only so many.
_LENGTH: Final = re.compile(r"\d{1,18}", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
# A date has whole seconds: younger than this, another version may have had the same one.
_SETTLED_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """The file from its first byte on.

    `size` is None where only the end will tell; `encoded` says that the bytes are not the
    file's own.
    """

    size: int | None
    validator: str | None
    encoded: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Bytes of a file of `size` bytes; never more than were asked for, and maybe fewer."""

    span: Span
    size: int
    validator: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """An answer that does not go with what was asked for, or with what is there."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """No bytes at all."""

    status: int


Meaning = Whole | Part | Misfit | Refusal


def meaning(
    status: int,
    headers: Mapping[str, str],
    asked: Span | None,
    *,
    size: int | None = None,
    validator: str | None = None,
) -> Meaning:
    """What an answer brings; `headers` in lower case.

    `size` and `validator` are those of the bytes that are there already, if any.
    """
    if status == _OK:
        encoded = headers.get("content-encoding", "identity") != "identity"
        length = headers.get("content-length", "")
        return Whole(
            size=int(length) if _LENGTH.fullmatch(length) and not encoded else None,
            validator=None if encoded else strong_validator(headers),
            encoded=encoded,
        )
    if status == _PARTIAL and asked is not None:
        return _part(headers, asked, size, validator)
    if status in {_PARTIAL, _OUT_OF_RANGE}:
        return Misfit(reason=f"the server answered with status {status}")
    return Refusal(status=status)


def _part(
    headers: Mapping[str, str], asked: Span, size: int | None, validator: str | None
) -> Part | Misfit:
    said = headers.get("content-range", "")
    encoding = headers.get("content-encoding", "identity")
    found = _CONTENT_RANGE.fullmatch(said)
    if not found or encoding != "identity":
        return Misfit(reason=f"the server sent a part as `{said}` in the encoding `{encoding}`")
    first, last, whole = (int(number) for number in found.groups())
    if first != asked.start or not first <= last < whole:
        return Misfit(reason=f"asked from byte {asked.start} on, the server sent `{said}`")
    if size is not None and size != whole:
        return Misfit(reason=f"it had {size} bytes and has {whole} now")
    strong = strong_validator(headers)
    if validator is not None and strong is not None and strong != validator:
        return Misfit(reason=f"it was {validator} and is {strong} now")
    return Part(span=Span(first, min(last + 1, asked.stop)), size=whole, validator=strong)


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """What bytes can be compared by (RFC 9110, section 8.8): an ETag, or an old enough date."""
    if tag := strong_tag(headers):
        return tag
    modified, date = (_date(headers.get(name, "")) for name in ("last-modified", "date"))
    if headers.get("etag") or modified is None or date is None:
        return None
    return headers["last-modified"] if date - modified >= _SETTLED_SECONDS else None


def strong_tag(headers: Mapping[str, str]) -> str | None:
    """An ETag that bytes can be compared by (RFC 9110, section 8.8.1)."""
    etag = headers.get("etag", "")
    return etag if etag.startswith('"') else None


def pause_wished(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a `Retry-After` asks for; `now` in seconds since the epoch."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    date = _date(value)
    return None if date is None else max(0.0, date - now)


def _date(value: str) -> float | None:
    """An HTTP date, in seconds since the epoch."""
    parts = parsedate_tz(value)
    try:
        return None if parts is None else float(mktime_tz(parts))
    except (OverflowError, ValueError):
        return None
