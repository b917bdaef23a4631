"""Settings that lead to the `gpuenv serve` of the very store that is to be filled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.adapters import pip, uv_settings
from provisioner.adapters.serving import find_server, indexes_of_server
from provisioner.core.routes import PYPI
from provisioner.core.stubs import VARIABLES
from provisioner.core.urls import is_same_index, is_same_server, without_secrets
from provisioner.errors import GpuenvError
from provisioner.workflow.default_index import default_index

if TYPE_CHECKING:
    from provisioner.adapters.projects import Place
    from provisioner.adapters.store import Store
    from provisioner.workflow.world import World


def past_own_server(world: World, store: Store, place: Place) -> World:
    """The same without what `gpuenv env` and `configure` set pip and stub builds to.

    Whoever fills the store would ask the server for what the server waits for.

    Raises:
        GpuenvError: uv is set to the server, whose URL would come into every lock.
    """
    server = find_server(store.root)
    if server is None:
        return world

    def is_own(url: str) -> bool:
        return is_same_server(url, server)

    named = [*filter(is_own, uv_settings.index_urls(world.variables, world.home, place.folder))]
    if named:
        message = "uv is set to the `gpuenv serve` of this store"
        raise GpuenvError(
            message,
            causes=tuple(f"an index is `{without_secrets(url)}`" for url in named),
            hint="name the index itself: locks record it, and gpuenv fetches from it once, too",
            code="own-index",
        )
    variables = {
        name: value
        for name, value in world.variables.items()
        if not (name in {"PIP_INDEX_URL", *VARIABLES} and is_own(value))
    }
    of_pip = [*pip.index_urls(world.variables, world.home)]
    if of_pip and is_own(of_pip[0]):
        left = next((url for url in of_pip if not is_own(url)), None)
        variables["PIP_INDEX_URL"] = left or _behind(server, store, world, place)
    return replace(world, variables=variables)


def _behind(server: str, store: Store, world: World, place: Place) -> str:
    """The index that counts for pip instead of the server: what the server asks last.

    Raises:
        GpuenvError: it asks others before, which uv does not here.
    """
    if default_index(world, place) in {None, PYPI}:
        return PYPI  # It does not count.
    *first, last = indexes_of_server(store.root) or (server,)
    known = uv_settings.search_order(world.variables, world.home, place.folder)
    lacking = [url for url in first if not any(is_same_index(url, own) for own in known)]
    if lacking or last == server:
        message = "pip is set to the `gpuenv serve` of this store, which asks further indexes"
        raise GpuenvError(
            message,
            causes=tuple(f"it asks `{url}`" for url in lacking),
            hint="name them in `[[tool.uv.index]]`, or unset `PIP_INDEX_URL`",
            code="own-index",
        )
    return last
