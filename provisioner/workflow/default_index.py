"""The index that uv takes whatever nothing else names from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.adapters import pip, uv_settings
from provisioner.core.routes import PYPI
from provisioner.workflow.locks import locked_by_uv

if TYPE_CHECKING:
    from provisioner.adapters.projects import Place
    from provisioner.workflow.world import World


def default_index(world: World, place: Place) -> str | None:
    """Uv's default index in a folder, where none of its settings names one; None where one does.

    uv never reads pip's settings. Where gpuenv resolves itself, for what may have been pip's so
    far, it gives pip's index to `uv pip`; a project that uv locks is asked of PyPI.
    """
    by_uv = locked_by_uv(place)
    where = (world.variables, world.home, place.folder)
    if uv_settings.has_default_index(*where, of_pip=not by_uv):
        return None
    return (None if by_uv else pip.index_url(world.variables, world.home)) or PYPI


def given_variables(world: World, place: Place) -> dict[str, str]:
    """What tells uv of its default index, where that is pip's."""
    index = default_index(world, place)
    return {} if index in {None, PYPI} else {"UV_DEFAULT_INDEX": str(index)}
