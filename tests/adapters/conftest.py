"""A project without anything in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.state import StateFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a project."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def state(home: Path) -> StateFolder:
    """The state of that project."""
    return StateFolder(home)
