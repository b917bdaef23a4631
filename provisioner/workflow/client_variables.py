"""`gpuenv env`: the variables that point clients at the store, served or as it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

from provisioner.adapters.serving import find_server
from provisioner.core.served import as_index
from provisioner.core.urls import is_loopback, require_web
from provisioner.errors import GpuenvError
from provisioner.workflow.place import store_of

if TYPE_CHECKING:
    from provisioner.workflow.world import Options, World

_OF_URLS: Final = ":/?#[]@!&()*+,;=%"
"""What of the characters of a URL has no meaning for a reader of variables (RFC 3986, 2.2)."""


def serve_variables(
    world: World, options: Options, *, url: str | None, token: str | None, uv: bool
) -> dict[str, str]:
    """What points pip, and stub builds, at `gpuenv serve`; uv too, on request.

    A project's `uv.lock` records the index, so that uv would write it anew; after `prepare`
    uv needs nothing.

    Raises:
        UsageError: the URL is none.
        GpuenvError: no URL was named, and nothing serves the store.
    """
    if url is not None:
        require_web(url, "`gpuenv env --url http://127.0.0.1:8199/simple/`")
        url = as_index(url)
    store = store_of(world, options)
    server = None if url else find_server(store.root)
    found = server.url if server else url
    if found is None:
        message = f"nothing serves the store `{store.root}`"
        raise GpuenvError(
            message,
            hint="`gpuenv serve` does, or name a server with `--url`",
            code="not-serving",
        )
    found = quote(found, safe=_OF_URLS)
    index = found if token is None else _with_token(found, token)
    made = {"PIP_INDEX_URL": index, "WHEEL_STUB_PIP_INDEX_URL": index}
    parts = urlsplit(found)
    host = parts.hostname or ""
    if parts.scheme == "http" and not is_loopback(host):
        made["PIP_TRUSTED_HOST"] = host  # pip passes over others without encryption.
    wants_token = server.has_token if server else not is_loopback(host)
    if wants_token and token is None and not parts.password:
        world.progress.note(
            "the server asks for its token, which `--token-file` or `GPUENV_SERVE_TOKEN` puts "
            "into the URLs"
            if server
            else "a server that others can reach asks for its token, which `--token-file` or "
            "`GPUENV_SERVE_TOKEN` puts into the URLs"
        )
    return made | ({"UV_DEFAULT_INDEX": index} if uv else {})


def pip_variables(world: World, options: Options) -> dict[str, str]:
    """What lets any pip install from the store's static index alone.

    Raises:
        GpuenvError: there is no store, or one of another format, or it has no such index.
    """
    from provisioner.adapters.static_index import StaticIndex

    store = store_of(world, options)
    store.check(writing=False)
    index = StaticIndex(store.root)
    if not index.links.is_file():
        # With the variables, pip would find nothing at all.
        message = (
            f"the store `{store.root}` has no static index" if store.is_there else store.absence
        )
        raise GpuenvError(message, hint="`gpuenv prepare` makes it", code="no-static-index")
    # pip splits the variable at spaces, which a URL has none of.
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": index.links.as_uri()}


def _with_token(url: str, token: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"gpuenv:{quote(token, safe='')}@{host}"))
