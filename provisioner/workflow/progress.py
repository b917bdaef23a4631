"""What a long command tells while it works."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by many threads at once; sizes and counts are in bytes."""

    def planned(self, files: int, size: int) -> None:
        """So many files are going to be fetched."""

    def started(self, key: str, name: str, size: int | None) -> None:
        """A file begins to arrive; `key` tells it from others of the same name."""

    def advanced(self, key: str, count: int) -> None:
        """More of it has arrived."""

    def finished(self, key: str) -> None:
        """It is in the store."""

    def note(self, text: str) -> None:
        """Something else happens."""

    def close(self) -> None:
        """Nothing more happens."""


class Quiet:
    """Tells nothing."""

    def planned(self, files: int, size: int) -> None:
        """Tell nothing."""

    def started(self, key: str, name: str, size: int | None) -> None:
        """Tell nothing."""

    def advanced(self, key: str, count: int) -> None:
        """Tell nothing."""

    def finished(self, key: str) -> None:
        """Tell nothing."""

    def note(self, text: str) -> None:
        """Tell nothing."""

    def close(self) -> None:
        """Tell nothing."""
