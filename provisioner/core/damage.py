"""What can be wrong with a file of the store, told from its stamp and its hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from provisioner.core.blob_record import WRITE_BITS

if TYPE_CHECKING:
    from provisioner.core.blob_record import Stamp
    from provisioner.core.digest import Digest

Fault = Literal["missing", "replaced", "truncated", "wrong-hash", "writable", "unreadable"]
"""`replaced`: by a folder, a link or another thing that is no file."""

_WORDS: dict[Fault, str] = {
    "missing": "is gone, and is still needed",
    "replaced": "is no regular file",
    "truncated": "is shorter than it was",
    "wrong-hash": "no longer has its hash",
    "writable": "can be written to",
    "unreadable": "cannot be read",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """A blob that is not what it has to be; `more` are both values of what differs.

    `below` is the store below that has it, where it is not the store itself. `lost` is why
    it could not be fetched again, after it was tried. A wheel that was `built` here is removed
    instead, and made again by the next `prepare`.
    """

    digest: Digest
    names: tuple[str, ...]
    fault: Fault
    more: str | None = None
    below: str | None = None
    projects: tuple[str, ...] = ()
    repaired: bool = False
    lost: str | None = None
    built: bool = False

    @property
    def message(self) -> str:
        """In words."""
        name = self.names[0] if self.names else self.digest.hex
        more = f": {self.more}" if self.more else ""
        where = f" in the lower store `{self.below}`" if self.below else ""
        return f"`{name}`{where} {_WORDS[self.fault]}{more}"

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "sha256": self.digest.hex,
            "names": list(self.names),
            "fault": self.fault,
            "message": self.message,
            "below": self.below,
            "projects": list(self.projects),
            "repaired": self.repaired,
            "lost": self.lost,
            "built": self.built,
        }


def fault_of(
    digest: Digest, found: str, stamp: Stamp, recorded: Stamp | None
) -> tuple[Fault, str] | None:
    """What is wrong with a file that was hashed, with both values; None where nothing is."""
    size, _, _, mode = stamp
    if found != digest.hex:
        if recorded and size < recorded[0]:
            return "truncated", f"expected {recorded[0]} bytes, got {size}"
        return "wrong-hash", f"expected sha256 `{digest}`, got `{found}`"
    if mode & WRITE_BITS:
        return "writable", f"expected mode `0444`, got `{mode:04o}`"
    return None
