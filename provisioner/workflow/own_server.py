"""Settings that lead to the `gpuenv serve` of the very store that is to be filled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.adapters import pip, uv_settings
from provisioner.adapters.serving import server_behind
from provisioner.core.routes import PYPI
from provisioner.core.stubs import VARIABLES, indexes_in
from provisioner.core.urls import is_same_index, without_secrets
from provisioner.errors import GpuenvError
from provisioner.workflow.default_index import default_index

if TYPE_CHECKING:
    from provisioner.adapters.projects import Place
    from provisioner.adapters.serving import Server
    from provisioner.adapters.store import Store
    from provisioner.workflow.world import World


def past_own_server(world: World, store: Store, place: Place, *, offline: bool) -> World:
    """The same without what `gpuenv env` and `configure` set pip and stub builds to.

    Whoever fills the store would ask the server for what the server waits for. What is not set
    to it connects to nothing; `offline` nothing does.

    Raises:
        GpuenvError: uv is set to the server, whose URL would come into every lock.
    """
    of_uv = uv_settings.index_urls(world.variables, world.home, place.folder)
    of_pip = [*pip.index_urls(world.variables, world.home)]
    others = indexes_in(world.variables)
    server = server_behind(store.root, (*of_uv, *of_pip[:1], *others), offline=offline)
    if server is None:
        return world
    if named := [*filter(server.is_own, of_uv)]:
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
        if not (name in {"PIP_INDEX_URL", *VARIABLES} and server.is_own(value))
    }
    if of_pip and server.is_own(of_pip[0]):
        left = next((url for url in of_pip if not server.is_own(url)), None)
        variables["PIP_INDEX_URL"] = left or _behind(server, world, place)
    return replace(world, variables=variables)


def _behind(server: Server, world: World, place: Place) -> str:
    """The index that counts for pip instead of the server: what the server asks last.

    Raises:
        GpuenvError: it asks others before, which uv does not here.
    """
    if default_index(world, place) in {None, PYPI}:
        return PYPI  # It does not count.
    *first, last = server.indexes or (server.url,)
    known = uv_settings.search_order(world.variables, world.home, place.folder)
    lacking = [url for url in first if not any(is_same_index(url, own) for own in known)]
    if lacking or last == server.url:
        message = "pip is set to the `gpuenv serve` of this store, which asks further indexes"
        raise GpuenvError(
            message,
            causes=tuple(f"it asks `{url}`" for url in lacking),
            hint="name them in `[[tool.uv.index]]`, or unset `PIP_INDEX_URL`",
            code="own-index",
        )
    return last
