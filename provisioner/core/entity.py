"""What a client gets of a file that has a hash: all of it, a part, or word that it has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The head of an answer, and which bytes follow it: `count` from `first` on."""

    status: int
    headers: Mapping[str, str]
    first: int = 0
    count: int = 0


def file_headers(tag: str, cache_control: str) -> dict[str, str]:
    """What is said of a file whatever part of it is sent; `tag` is its hash."""
    return {
        "Content-Type": "application/octet-stream",
        "ETag": f'"{tag}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": cache_control,
    }


def file_head(
    method: str, asked: Mapping[str, str], *, tag: str, size: int, cache_control: str
) -> Head:
    """Answer a GET or HEAD of a file (RFC 9110, sections 13 and 14).

    `asked` are the request's headers in lower case; `size` is in bytes. Of several ranges all
    of the file is sent, which is allowed.
    """
    quoted = f'"{tag}"'
    if is_named(quoted, asked.get("if-none-match")):
        return Head(status=304, headers={"ETag": quoted, "Cache-Control": cache_control})
    part = None
    if method == "GET" and asked.get("if-range", quoted) == quoted:
        part = _part(asked.get("range"), size)
    if part == ():
        return Head(status=416, headers={"Content-Range": f"bytes */{size}", "Content-Length": "0"})
    headers = file_headers(tag, cache_control)
    first, last = part or (0, size - 1)
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    count = last - first + 1
    headers["Content-Length"] = str(count)
    return Head(
        status=206 if part else 200,
        headers=headers,
        first=first,
        count=count if method == "GET" else 0,
    )


def is_named(tag: str, header: str | None) -> bool:
    """Whether an `If-None-Match` names a tag (RFC 9110, section 13.1.2)."""
    if header is None:
        return False
    tags = {part.strip().removeprefix("W/") for part in header.split(",")}
    return bool(tags & {tag, "*"})


def _part(header: str | None, size: int) -> tuple[int, int] | tuple[()] | None:
    """The first and last byte of a single range; () is out of bounds, None the whole file."""
    found = _RANGE.fullmatch(header.strip()) if header else None
    if not found or found[0] == "bytes=-":
        return None
    if not found[1]:
        count = min(int(found[2]), size)
        return (size - count, size - 1) if count else ()
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return None  # Not a valid range, and to be ignored (RFC 9110, section 14.1.1).
    return (first, min(last, size - 1)) if first < size else ()
