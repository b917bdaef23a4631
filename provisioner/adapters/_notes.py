"""The lock under which the small files of a store are changed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from provisioner.adapters._files import SHORT_WAIT_SECONDS, locked, where_possible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Read and change notes of a store while no other process changes any."""
    with where_possible(locked(root / "notes.lock", wait_seconds=SHORT_WAIT_SECONDS)):
        yield
