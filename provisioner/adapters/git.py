"""git's own settings."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def setting(folder: Path, variables: Mapping[str, str], name: str) -> str | None:
    """A setting as git sees it in a folder; None where it has none, or there is no git."""
    try:
        found = subprocess.run(
            ["git", "config", "--get", name],
            cwd=folder,
            env=dict(variables),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return found.stdout.strip() if found.returncode == 0 else None
