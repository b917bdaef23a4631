"""What a long command tells while it works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Progress(Protocol):
    """Told by many threads at once; sizes and counts are in bytes.

    `key` tells a file from others of the same name.
    """

    def planned(self, sizes: Mapping[str, int | None]) -> None:
        """Files of these sizes, by their keys, are going to be fetched."""

    def started(self, key: str, name: str, size: int | None) -> None:
        """A file begins to arrive."""

    def awaited(self, key: str, name: str, size: int | None) -> None:
        """Another process fetches a file."""

    def has(self, key: str, count: int) -> None:
        """So much of a file is there in all, which nobody received just now."""

    def advanced(self, key: str, count: int) -> None:
        """So much more of it has arrived."""

    def finished(self, key: str) -> None:
        """It is in the store; one that was neither planned nor started does not matter."""

    def note(self, text: str) -> None:
        """Something else happens."""

    def close(self) -> None:
        """Nothing more happens."""


class Quiet:
    """Tells nothing."""

    def planned(self, sizes: Mapping[str, int | None]) -> None:
        """Tell nothing."""

    def started(self, key: str, name: str, size: int | None) -> None:
        """Tell nothing."""

    def awaited(self, key: str, name: str, size: int | None) -> None:
        """Tell nothing."""

    def has(self, key: str, count: int) -> None:
        """Tell nothing."""

    def advanced(self, key: str, count: int) -> None:
        """Tell nothing."""

    def finished(self, key: str) -> None:
        """Tell nothing."""

    def note(self, text: str) -> None:
        """Tell nothing."""

    def close(self) -> None:
        """Tell nothing."""
