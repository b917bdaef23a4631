"""`gpuenv serve`: the store as a package index, for as long as it runs."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters import pip, uv_settings
from provisioner.adapters.profiles import load_profiles, profile_files, profile_folders
from provisioner.adapters.projects import read_place, uv_tables
from provisioner.adapters.serving import announced, listening
from provisioner.core.access import Access
from provisioner.core.routes import PYPI, Routes, locked_indexes
from provisioner.core.sources import source_indexes
from provisioner.core.urls import is_below, is_remote
from provisioner.errors import GpuenvError, ProfileError, UsageError, said
from provisioner.workflow.package_index import PackageIndex
from provisioner.workflow.place import folder_of, store_of, tell_of_locks
from provisioner.workflow.workshop import open_pull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.adapters.projects import Place
    from provisioner.core.profile import Index, Profile
    from provisioner.workflow.world import Options, World

HOST: Final = "127.0.0.1"
PORT: Final = 8199

_TOKEN_BYTES: Final = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Where to serve, and who may ask. `names` are further ones that clients use."""

    host: str = HOST
    port: int = PORT
    names: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A server that takes connections; `new_token` is one that nobody named."""

    url: str
    store: Path
    new_token: str | None = field(default=None, repr=False)


def serve(
    world: World,
    options: Options,
    wanted: Wanted,
    started: Callable[[Serving], None],
    told: Callable[[str], None] | None = None,
) -> None:
    """Serve until a signal ends it, which then is raised again.

    `started` is called once clients can connect; `told` is given a line for every request.

    Raises:
        GpuenvError: the port cannot be had, or the store not be used.
        ProfileError: a profile is not valid, or the named one is not known.
    """
    from provisioner.adapters.asgi import Application, run

    world.guard()
    store = store_of(world, options)
    store.open()
    tell_of_locks(world, store.root)
    folder, is_project = folder_of(world, options)
    place = read_place(folder, is_project=is_project)
    profiles = _profiles(world, place, options.profile)
    with ExitStack() as stack:
        listener = stack.enter_context(listening(wanted.host, wanted.port))
        token = wanted.token
        if token is None and not listener.is_loopback:
            token = secrets.token_urlsafe(_TOKEN_BYTES)
        access = Access(
            names=listener.names | {name.lower() for name in wanted.names},
            any_address=listener.is_everywhere,
            token=token,
        )
        indexes = tuple(index for profile in profiles for index in profile.indexes)
        routes = _without(listener.origin, routes_of(world, place, indexes))
        pull = stack.enter_context(
            open_pull(world, store, folder, indexes, offline=options.offline)
        )
        index = PackageIndex(pull, routes, world.progress.note)
        application = Application(index, access, _failed(world), told, index.quick, index.is_held)
        stack.callback(application.close)
        stack.callback(index.close)
        url = f"{listener.origin}/simple/"
        stack.enter_context(announced(store.root, url))
        new = token if wanted.token is None else None
        started(Serving(url=url, store=store.root, new_token=new))
        run(application, listener.socket)


def _failed(world: World) -> Callable[[str], None]:
    return lambda words: world.progress.note(f"error: a request could not be answered: {words}")


def routes_of(world: World, place: Place, claims: Iterable[Index]) -> Routes:
    """Which index has which project, for whoever works in a folder."""
    where = (world.variables, world.home, place.folder)
    order = uv_settings.search_order(*where)
    if not uv_settings.has_default_index(*where):
        order = (*order, pip.index_url(world.variables, world.home) or PYPI)
    return Routes(
        locked=locked_indexes(_uv_lock(place)),
        sources=source_indexes(uv_tables(place), uv_settings.named_indexes(world.variables)),
        claims=tuple(index for index in claims if index.packages and is_remote(index.url)),
        order=tuple(filter(is_remote, order)),
    )


def _without(own: str, routes: Routes) -> Routes:
    """The same without this server itself, which clients of the project may be set to."""

    def others(urls: Iterable[str]) -> tuple[str, ...]:
        return tuple(url for url in urls if not is_below(url, own))

    def of_others(named: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
        return ((name, left) for name, urls in named.items() if (left := others(urls)))

    return Routes(
        locked=dict(of_others(routes.locked)),
        sources=dict(of_others(routes.sources)),
        claims=routes.claims,
        order=others(routes.order) or (PYPI,),
    )


def _uv_lock(place: Place) -> Mapping[str, Any]:
    """What `uv.lock` of the project has; nothing where there is none that can be read."""
    import tomllib

    try:
        return tomllib.loads((place.home / "uv.lock").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _profiles(world: World, place: Place, named: str | None) -> tuple[Profile, ...]:
    """The profiles whose indexes count: the named one, or all."""
    home = place.home if place.manifest else None
    found = load_profiles(profile_files(profile_folders(home, world.variables, world.home)))
    if named is None:
        return found
    chosen = tuple(profile for profile in found if profile.name == named)
    if not chosen:
        message = f"there is no profile `{named}`"
        raise ProfileError(message, hint="`gpuenv profiles` lists them")
    return chosen


def read_token(variables: Mapping[str, str], file: Path | None) -> str | None:
    """The token that a file, or else `GPUENV_SERVE_TOKEN`, names.

    Raises:
        UsageError: the file has none, or it has other characters than ASCII has.
    """
    if file is None:
        token, where = variables.get("GPUENV_SERVE_TOKEN", ""), "`GPUENV_SERVE_TOKEN`"
        if not token:
            return None
    else:
        where = f"`{file}`"
        try:
            token = file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            token = ""
        except OSError as error:
            message = f"the token in {where} cannot be read"
            raise GpuenvError(message, causes=(said(error),), code="token-unreadable") from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        message = f"{where} has no token"
        raise UsageError(message, causes=("a token is one word of ASCII characters",))
    return token
