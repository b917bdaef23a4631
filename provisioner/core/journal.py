"""What is known of a file that has not arrived whole, and whose it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from provisioner.core.ranges import Span, Spans, clipped, union

FORMAT: Final = 1

_IDLE_SECONDS: Final = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process: which machine, which start of it, which space of process numbers, and which.

    `boot`, `space` and `started` are empty where the system does not tell them.
    """

    host: str
    boot: str
    space: str
    pid: int
    started: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """Which bytes of a file of `size` bytes are on the disk for sure.

    `validator` is the server's word for these bytes, by which the rest can be asked for;
    without one nothing can be gone on with. `owner` is who is at it, None when it left.
    """

    owner: Owner | None
    validator: str | None = None
    size: int | None = None
    flushed: Spans = ()

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)})


def read_journal(text: str) -> Journal:
    """Read what `Journal.text` wrote.

    Raises:
        ValueError: it is damaged, or of another format.
    """
    try:
        return _journal(json.loads(text))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        message = f"no journal: {error!r}"
        raise ValueError(message) from error


def _journal(found: dict[str, Any]) -> Journal:
    if found["format"] != FORMAT:
        message = f"the format is `{found['format']}`, not `{FORMAT}`"
        raise ValueError(message)
    size, validator, owner = found["size"], found["validator"], found["owner"]
    spans = [Span(start, stop) for start, stop in found["flushed"]]
    numbers = [number for span in spans for number in span]
    if any(type(number) is not int or number < 0 for number in numbers):
        message = "a range is no pair of offsets"
        raise ValueError(message)
    if not (size is None or (type(size) is int and size >= 0)):
        message = "the size is no count of bytes"
        raise ValueError(message)
    if not (validator is None or isinstance(validator, str)):
        message = "the validator is no text"
        raise ValueError(message)
    return Journal(
        owner=None if owner is None else _owner(owner),
        validator=validator,
        size=size,
        flushed=clipped(union(spans), size or 0),
    )


def _owner(found: dict[str, Any]) -> Owner:
    owner = Owner(**found)
    texts = (owner.host, owner.boot, owner.space, owner.started)
    if type(owner.pid) is not int or not all(isinstance(text, str) for text in texts):
        message = "the owner is none"
        raise ValueError(message)
    return owner


def is_orphan(
    owner: Owner | None, reader: Owner, *, locked: bool, running: bool, idle_seconds: float
) -> bool:
    """Whether nobody is at a file any more, so that `reader` may take it over.

    `locked` says that the reader holds a lock that excludes others on this machine; `running`
    whether a process of the owner's number and start is there; `idle_seconds` how long ago
    its journal was written. A mistake costs time only: whoever lost the file notices.
    """
    if owner is None:
        return True
    same_machine = owner.boot == reader.boot and (owner.boot != "" or owner.host == reader.host)
    if same_machine and locked:
        return True
    if same_machine and owner.space == reader.space:
        return not running
    if not same_machine and owner.host == reader.host:
        return True  # It has been started again since.
    return idle_seconds > _IDLE_SECONDS
