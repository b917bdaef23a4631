"""What differs between the packages of an environment and those that it was made with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TOLD: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A package of which `was` was installed, and `now` is; None: not at all."""

    package: str
    was: str | None
    now: str | None

    @property
    def message(self) -> str:
        """In words."""
        if self.was is None:
            return f"`{self.package}` {self.now} was added"
        if self.now is None:
            return f"`{self.package}` {self.was} was removed"
        return f"`{self.package}` is {self.now}, was {self.was}"

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {**asdict(self), "message": self.message}


def differences(was: Mapping[str, str], now: Mapping[str, str]) -> tuple[Difference, ...]:
    """What differs between two sets of packages, each a version by a name, in their order."""
    return tuple(
        Difference(package=name, was=was.get(name), now=now.get(name))
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    )


def drift_text(found: Iterable[Difference]) -> str:
    """The first few of some differences, in a row of words; empty for none."""
    every = [item.message for item in found]
    more = [f"and {len(every) - _TOLD} more"] if len(every) > _TOLD else []
    return ", ".join([*every[:_TOLD], *more])
