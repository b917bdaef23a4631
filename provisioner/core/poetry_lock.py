"""What of a `poetry.lock` matters to whoever serves its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.core.routes import PYPI

if TYPE_CHECKING:
    from collections.abc import Mapping


def sources(lock: Mapping[str, Any]) -> tuple[str, ...]:
    """Where its packages come from, each once: URLs and local paths; without a word it is PyPI."""
    packages = lock.get("package")
    found = (
        (package.get("source") for package in packages or () if isinstance(package, dict))
        if isinstance(packages, list)
        else ()
    )
    return tuple(
        dict.fromkeys(
            str(source.get("url")) if isinstance(source, dict) else PYPI for source in found
        )
    )
