"""What a new lock has in other versions than the one before."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class LockChange:
    """A package of a lock: `old` and `new` are its versions, none where it came or went.

    A lock may have several versions of one package, each for other environments.
    """

    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """An entry of `changes` in `lock --json`."""
        return {"name": self.name, "old": list(self.old), "new": list(self.new)}

    def __str__(self) -> str:
        """As `lock` says it."""
        old, new = ", ".join(self.old), ", ".join(self.new)
        if not self.old:
            return f"{self.name}: {new} is new"
        return f"{self.name}: {old} -> {new}" if self.new else f"{self.name}: {old} is gone"


def lock_changes(old: str, new: str) -> tuple[LockChange, ...]:
    """How two texts of a lock differ, `uv.lock` or PEP 751; nothing where one cannot be read."""
    before, after = _versions(old), _versions(new)
    if before is None or after is None:
        return ()
    return tuple(
        LockChange(name=name, old=before.get(name, ()), new=after.get(name, ()))
        for name in sorted(before.keys() | after.keys())
        if before.get(name, ()) != after.get(name, ())
    )


def _versions(text: str) -> dict[str, tuple[str, ...]] | None:
    """The versions of each package; what has none, as a local project, is left out."""
    try:
        data = tomllib.loads(text)
        found: dict[str, set[str]] = {}
        for package in [*data.get("package", ()), *data.get("packages", ())]:
            if "version" in package:
                found.setdefault(package["name"], set()).add(package["version"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        return None
    return {name: tuple(sorted(versions)) for name, versions in found.items()}
