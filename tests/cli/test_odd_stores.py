"""A store on another file system than uv's cache and the project."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, line_of
from tests.cli.projects import TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator

COPIES = "uv copies from its cache into environments, which takes room for each"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")  # noqa: S108 - another file system is all that it is for
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system to write to")
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def test_a_store_on_another_file_system_has_copies_which_is_said_and_switches(
    machine: Machine, app: Path, elsewhere: Path
) -> None:
    given = {"GPUENV_STORE": str(elsewhere)}

    done = machine.gpuenv(app, "prepare", "--target", TARGET, "--json", given=given)

    assert done.data["link_mode"] == "copy"
    assert done.err.count(COPIES) == 1
    (file,) = (app / ".venv").glob("lib/python*/site-packages/common/__init__.py")
    assert file.stat().st_nlink == 1
    switched = machine.gpuenv(app, "switch", "cu12", network=False, given=given)
    assert (switched.code, line_of(app / ".venv")) == (0, "cu12")
    looked = machine.gpuenv(app, "store", "verify", given=given)
    assert looked.code == 0, looked.err
    back = machine.gpuenv(app, "rollback", given=given)
    assert (back.code, line_of(app / ".venv")) == (0, "cu13")
