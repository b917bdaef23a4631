"""What came of trying a client's toggles with the network cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """One client, tried or not.

    Attributes:
        client: `uv`, `pip` or `poetry`.
        version: What it says that it is; None where it was not asked.
        program: Its path; None where there is none.
        toggles: The profiles that it was to go through, in order.
        wanted: What it asked for, without secrets. Nothing of it was answered.
        ok: Whether it went through all of them; None where it was not tried.
        why: What kept it from that, or from being tried.
    """

    client: str
    version: str | None = None
    program: str | None = None
    toggles: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    ok: bool | None = None
    why: str | None = None

    @property
    def name(self) -> str:
        """The client as it is told of."""
        return f"{self.client} {self.version}" if self.version else self.client

    def to_json(self) -> dict[str, Any]:
        """An entry of `proof` in `prepare --json`; `bytes` are what it got from a network."""
        return {
            "client": self.client,
            "version": self.version,
            "program": self.program,
            "toggles": list(self.toggles),
            "requests": len(self.wanted),
            "bytes": 0,
            "ok": self.ok,
            "wanted": list(self.wanted),
            "why": self.why,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Proof:
        """Read what `to_json` gave."""
        known: dict[str, Any] = {name: data[name] for name in cls.__slots__}
        return cls(**known | {name: tuple(data[name]) for name in ("toggles", "wanted")})

    def causes(self) -> tuple[str, ...]:
        """Why it failed: what it asked for, or else its own words."""
        return self._asked() or ((self.why,) if self.why else ())

    def _asked(self) -> tuple[str, ...]:
        urls = tuple(dict.fromkeys(self.wanted))
        more = (f"and {len(urls) - _SHOWN} more",) if len(urls) > _SHOWN else ()
        return (*(f"it asked for `{url}`" for url in urls[:_SHOWN]), *more)

    def text(self, *, in_full: bool = False) -> str:
        """A line of `prepare`; `in_full` tells which program it is, as for what is not tried."""
        where = f" (`{self.program}`)" if self.program and (in_full or self.ok is None) else ""
        if self.ok is None:
            return f"not tried: {self.name}{where}: {self.why}"
        if self.ok:
            toggled = f"{self.name}{where} toggled {', '.join(self.toggles)}"
            without = f"; {'; '.join(self._asked())}, and went without" if self.wanted else ""
            return f"proof: {toggled} with the network cut off: 0 bytes{without}"
        causes = "; ".join(self.causes())
        return f"warning: {self.name}{where} cannot toggle with the network cut off: {causes}"
