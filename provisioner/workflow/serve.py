"""`gpuenv serve`: the store as a package index, for as long as it runs."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from provisioner.adapters.profiles import load_profiles, profile_files, profile_folders
from provisioner.adapters.projects import read_place
from provisioner.adapters.serving import announced, listening
from provisioner.core.access import Access
from provisioner.core.address import HOST, PORT
from provisioner.core.urls import require_web
from provisioner.errors import GpuenvError, ProfileError, UsageError, said
from provisioner.workflow.index_routes import routes_of
from provisioner.workflow.package_index import PackageIndex
from provisioner.workflow.place import folder_of, store_of, tell_of_locks
from provisioner.workflow.workshop import open_pull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provisioner.adapters.projects import Place
    from provisioner.core.profile import Profile
    from provisioner.workflow.world import Options, World

_TOKEN_BYTES: Final = 24
_LEAST_CHARACTERS: Final = 16
"""What a token needs so that nobody guesses it: half as many as a new one has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Where to serve, and who may ask. `names` are further ones that clients use.

    `indexes` take the place of those of uv and pip, in this order.
    """

    host: str = HOST
    port: int = PORT
    names: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A server that takes connections; `new_token` is one that nobody named.

    `urls` are those that clients can use, the last one those of this machine.
    """

    urls: tuple[str, ...]
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
        UsageError: an index to ask is no URL, or the token too short.
        GpuenvError: the port cannot be had, or the store not be used, or it was named and is
            not there.
        ProfileError: a profile is not valid, or the named one is not known.
    """
    from provisioner.adapters.asgi import Application, run

    for url in wanted.indexes:
        require_web(url, "such as `--index https://pypi.org/simple/`")
    world.guard()
    if wanted.token is not None and len(wanted.token) < _LEAST_CHARACTERS:
        message = f"the token has {len(wanted.token)} characters, and needs {_LEAST_CHARACTERS}"
        raise UsageError(message, hint="`openssl rand -hex 24` makes one", code="token-short")
    store = store_of(world, options)
    if (options.store or world.variables.get("GPUENV_STORE")) and not store.root.exists():
        # A slip of the pen would be served as an empty store, which is filled anew.
        hint = "`gpuenv prepare` makes one, and a folder that is empty becomes one"
        raise GpuenvError(store.absence, hint=hint, code="no-store")
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
        named = frozenset(name.lower() for name in wanted.names)
        access = Access(
            names=listener.names | named,
            any_address=listener.is_everywhere,
            token=token,
        )
        indexes = tuple(index for profile in profiles for index in profile.indexes)
        server = listener.server(named)
        routes = routes_of(world, place, indexes, server.is_own, wanted.indexes)
        mark = f"gpuenv-{secrets.token_hex(8)}"
        pull = stack.enter_context(
            open_pull(
                world,
                store,
                folder,
                indexes,
                named=wanted.indexes,
                offline=options.offline,
                via=mark,
            )
        )
        index = PackageIndex(pull, routes, world.progress.note, mark=mark)
        application = Application(index, access, _failed(world), told, index.quick, index.is_held)
        stack.callback(application.close)
        stack.callback(index.close)
        server = replace(server, indexes=routes.order, has_token=token is not None)
        stack.enter_context(announced(store.root, server))
        new = token if wanted.token is None else None
        urls = tuple(f"{at}/simple/" for at in listener.origins)
        started(Serving(urls=urls, store=store.root, new_token=new))
        run(application, listener.socket)


def _failed(world: World) -> Callable[[str], None]:
    return lambda words: world.progress.note(f"error: a request could not be answered: {words}")


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
