"""Which file system a path is on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_FIELDS_BEFORE: Final = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A mounted file system: where, of what type, and with which options of its own."""

    device: str
    point: str
    kind: str
    options: frozenset[str]


def mount_of(path: Path, mounts: Path = _MOUNTS) -> Mount | None:
    """The file system of a path that exists; None where the system does not tell."""
    try:
        found = read_mounts(mounts.read_text(encoding="utf-8", errors="replace"))
        device = os.stat(path).st_dev  # noqa: PTH116 - as below
    except OSError:
        return None
    number = f"{os.major(device)}:{os.minor(device)}"
    place = os.path.realpath(path)
    around = [one for one in found if _is_below(place, one.point)]
    # A btrfs has other numbers for its subvolumes than the mount tells.
    same = [one for one in around if one.device == number] or around
    # The last one mounted is the one that is seen.
    return max(reversed(same), key=lambda one: len(one.point), default=None)


def read_mounts(text: str) -> tuple[Mount, ...]:
    """Read proc_pid_mountinfo(5); lines of another form are left out."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(" "), after.split(" ")
        if len(words) >= _FIELDS_BEFORE and len(rest) > 1:
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[4])
            options = frozenset(rest[2].split(",")) if rest[2:] else frozenset()
            found.append(Mount(device=words[2], point=point, kind=rest[0], options=options))
    return tuple(found)


def _is_below(place: str, point: str) -> bool:
    return place == point or place.startswith(point.rstrip("/") + "/")
