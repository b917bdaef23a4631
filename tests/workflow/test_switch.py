"""What can be switched to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.state import State
from provisioner.errors import NotPreparedError, ProfileError
from provisioner.workflow.switch import find_prepared
from provisioner.workflow.world import Options, World

if TYPE_CHECKING:
    from pathlib import Path


def world_in(folder: Path) -> World:
    return World(variables={}, home=folder, folder=folder, now=lambda: 0.0)


@pytest.mark.parametrize("name", ["../x", "..", "/etc/passwd", "cu13/../cu13", "", "-x", "a\nb"])
def test_what_no_profile_can_be_called_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError) as caught:
        find_prepared(world_in(tmp_path), Options(), State(), name)
    assert caught.value.message == f"`{name}` is no profile"
    assert caught.value.hint is None


def test_what_only_is_not_prepared_has_a_hint(tmp_path: Path) -> None:
    with pytest.raises(NotPreparedError) as caught:
        find_prepared(world_in(tmp_path), Options(), State(), "cu11")
    assert caught.value.hint is not None
