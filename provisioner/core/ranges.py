"""Which bytes of a file are there, and which a connection fetches next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL_BYTES: Final = 8 << 20
"""A file up to this size is one request, and the first request for a larger one ends here."""

LARGEST_PART: Final = 32 << 20

_SMALLEST_PART: Final = 1 << 20
_FIRST_PART: Final = 4 << 20
_PART_SECONDS: Final = 2.0


class Span(NamedTuple):
    """Bytes from `start` up to, and without, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes these are."""
        return self.stop - self.start


Spans = tuple[Span, ...]
"""In order, none empty, and no two that overlap or touch."""


def union(spans: Iterable[Span]) -> Spans:
    """The bytes of all spans, in any order, as spans that are apart."""
    found: list[Span] = []
    for span in sorted(spans):
        if span.length <= 0:
            continue
        if found and span.start <= found[-1].stop:
            found[-1] = Span(found[-1].start, max(found[-1].stop, span.stop))
        else:
            found.append(span)
    return tuple(found)


def added(spans: Spans, span: Span) -> Spans:
    """The union with one more; quick where it goes on at the end of one that is there."""
    for number, old in enumerate(spans):
        if old.stop == span.start:
            following = spans[number + 1 : number + 2]
            if span.length > 0 and not (following and following[0].start <= span.stop):
                return (*spans[:number], Span(old.start, span.stop), *spans[number + 1 :])
            break
    return union((*spans, span))


def gaps(spans: Spans, size: int) -> Spans:
    """What is not there of a file of `size` bytes."""
    edges = [0, *(edge for span in spans for edge in span), size]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple(Span(start, min(stop, size)) for start, stop in pairs if start < min(stop, size))


def clipped(spans: Spans, size: int) -> Spans:
    """What of the spans lies before byte `size`."""
    return tuple(Span(one.start, min(one.stop, size)) for one in spans if one.start < size)


def total(spans: Spans) -> int:
    """How many bytes are there."""
    return sum(span.length for span in spans)


def frontier(spans: Spans) -> int:
    """How many bytes are there from the first one on, without a gap."""
    return spans[0].stop if spans and spans[0].start == 0 else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A file that arrives in parts: what is there, and which parts connections fetch.

    A part stays taken until its connection gives it back; what has arrived of it is there.
    """

    size: int
    done: Spans = ()
    taken: Spans = ()

    @property
    def left(self) -> int:
        """Bytes that are neither there nor being fetched."""
        return total(gaps(union((*self.done, *self.taken)), self.size))

    def next_part(self, length: int) -> Span | None:
        """The first bytes that nobody fetches, at most so many: the hash follows in order."""
        found = gaps(union((*self.done, *self.taken)), self.size)
        return Span(found[0].start, min(found[0].stop, found[0].start + length)) if found else None

    def take(self, part: Span) -> Work:
        """A connection fetches a part."""
        return replace(self, taken=tuple(sorted((*self.taken, part))))

    def give_back(self, part: Span) -> Work:
        """Nobody fetches a part any more."""
        return replace(self, taken=tuple(one for one in self.taken if one != part))


def part_length(left: int, connections: int, bytes_per_second: float | None) -> int:
    """How much a connection asks for at once.

    Large enough that asking costs little time beside receiving, and smaller and smaller
    towards the end, so that all connections end at about the same time.
    """
    wished = _FIRST_PART if bytes_per_second is None else int(bytes_per_second * _PART_SECONDS)
    share = left // (2 * max(1, connections))
    return max(_SMALLEST_PART, min(wished, share, LARGEST_PART))
