"""uv with and without the gateway, for one project and one command."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from provisioner.adapters import git, pip, uv_settings
from provisioner.adapters.certificates import CertificateAuthority
from provisioner.adapters.gateway import BYPASSES, CutOff, Gateway
from provisioner.adapters.http import CONNECT_SECONDS, TRIES, Http
from provisioner.adapters.uv import Uv, find_uv, is_of_uv
from provisioner.core.urls import login_in
from provisioner.errors import GpuenvError, LockError
from provisioner.workflow.admitting import reach_of
from provisioner.workflow.default_index import given_variables
from provisioner.workflow.pull import Pull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.adapters._origin import Origin
    from provisioner.adapters.projects import Place
    from provisioner.adapters.store import Store
    from provisioner.adapters.uv import Turned
    from provisioner.core.profile import Index
    from provisioner.workflow.world import World

# Of all hosts together; how many each gets for files, `Connections` says.
_CONNECTIONS: Final = 64
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def connect(  # noqa: PLR0913 - whose settings count, and three limits
    world: World,
    folder: Path,
    *,
    connections: int,
    indexes: Iterable[Index] = (),
    named: Iterable[str] = (),
    tries: int = TRIES,
    connect_seconds: float = CONNECT_SECONDS,
    via: str = "",
) -> Http:
    """What fetches for a project's folder, the user's own way: proxies, certificates, passwords.

    `indexes` are further ones whose URLs may have passwords in them, and so are the URLs that
    are `named`, which are stronger than all settings; `via` names a server.
    """
    where = (world.variables, world.home, folder)
    # Of pip's also those behind the first, which may be a server that asks the next one.
    weaker = (*(index.url for index in indexes), *pip.index_urls(world.variables, world.home))
    logins = (
        *filter(None, map(login_in, named)),
        *uv_settings.index_logins(*where),
        *filter(None, map(login_in, weaker)),
    )
    return Http(
        {**world.variables, **uv_settings.proxies(*where)},
        connections=connections,
        logins=logins,
        insecure_hosts=(
            *uv_settings.insecure_hosts(*where),
            *pip.trusted_hosts(world.variables, world.home),
        ),
        note=world.progress.note,
        system_certificates=uv_settings.wants_system_certificates(*where),
        tries=tries,
        connect_seconds=connect_seconds,
        via=via,
    )


@contextmanager
def open_workshop(  # noqa: PLR0913 - what uv is given, and what it may reach
    world: World,
    store: Store,
    place: Place,
    *,
    python: str | None,
    indexes: Iterable[Index] = (),
    offline: bool,
) -> Iterator[Workshop]:
    """The workshop for a project's folder, and the connections that it needs.

    `python` is the interpreter that uv is to use; `indexes` are those whose policies count.
    """
    world.guard()
    every, folder = tuple(indexes), place.folder
    given = given_variables(world, place)
    inside = replace(world, variables={**world.variables, **given})
    with open_pull(world, store, folder, every, offline=offline) as pull:
        pull.restrict(*reach_of(inside, place, every))
        yield Workshop(
            world,
            folder,
            pull,
            python=python,
            given=given,
            settings=lambda into: uv_settings.safe_settings(
                world.variables, world.home, folder, into
            ),
        )


@contextmanager
def open_pull(  # noqa: PLR0913 - from where, to where, and two rules
    world: World,
    store: Store,
    folder: Path,
    indexes: Iterable[Index] = (),
    *,
    named: Iterable[str] = (),
    offline: bool,
    via: str = "",
) -> Iterator[Pull]:
    """What fetches into the store, with the proxies and credentials that count in a folder.

    `indexes`, `named` and `via` are as `connect` has them.
    """
    own = uv_settings.index_policies(world.variables, world.home, folder)
    every = (*own, *indexes)
    http = connect(world, folder, connections=_CONNECTIONS, indexes=every, named=named, via=via)
    pull = Pull(store, http, every, world.progress, offline=offline)
    try:
        yield pull
    finally:
        pull.close()
        http.close()


def git_variables(
    variables: Mapping[str, str], configured: str | None, *, offline: bool
) -> dict[str, str]:
    """Let git, which uv runs for git sources, go the user's own way past the gateway.

    The gateway speaks for package indexes only. `configured` is the proxy of git's own
    settings, which is stronger than the variables. Offline, git may read local repositories.
    """
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY")
    of_variables = next((variables[name] for name in names if variables.get(name)), "")
    given = variables.get("GIT_CONFIG_COUNT", "")
    count = int(given) if given.isdigit() else 0
    settings = {
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "http.proxy",
        f"GIT_CONFIG_VALUE_{count}": of_variables if configured is None else configured,
    }
    return settings | ({"GIT_ALLOW_PROTOCOL": "file"} if offline else {})


class Workshop:
    """Where uv works. The gateway costs a certificate, so it opens when it is needed.

    `given` are variables for uv behind the gateway alone, where it makes what gpuenv resolved.
    `settings` gives, for a folder, the text of a `uv.toml` there that takes the place of the
    user's files, where these would lead uv past the gateway.
    """

    def __init__(  # noqa: PLR0913 - what uv is given, where, and by whom
        self,
        world: World,
        folder: Path,
        pull: Pull,
        *,
        python: str | None = None,
        given: Mapping[str, str] = _NOTHING,
        settings: Callable[[Path], str | None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._given = given
        self._python = python
        self._program = find_uv(world.variables)
        self._folder = folder
        self._world = world
        self._variables = world.variables
        self._note = world.progress.note
        self.pull = pull
        self.store = pull.store

    @property
    def offline(self) -> Uv:
        """Uv without any network, for what needs none."""
        return Uv(self._program, self._folder, {**self._variables, "UV_OFFLINE": "1"}, self._python)

    @cached_property
    def link_mode(self) -> str:
        """How uv brings files from its cache into environments of the store."""
        from provisioner.workflow.links import choose_link_mode

        environments = self.store.root / "envs"
        return choose_link_mode(self._world, self._folder, environments, lambda: self.cache_folder)

    @cached_property
    def cache_folder(self) -> Path:
        """Where uv keeps what it has unpacked.

        Raises:
            ToolError: uv does not tell.
        """
        return self.offline.cache_folder()

    def export(self, turned: Turned, lock: Path) -> str:
        """The project's lock as PEP 751, without a network unless it has to be built first.

        Raises:
            LockError: it is malformed or stale.
        """
        try:
            return self.offline.export(turned, lock)
        except LockError:
            raise
        except GpuenvError:
            # A project whose metadata is dynamic has to be built before its lock can be judged.
            with self.building() as uv:
                return uv.export(turned, lock)

    @contextmanager
    def resolving(self) -> Iterator[Uv]:
        """Uv behind the gateway, seeing index pages as they are now."""
        with self._behind_gateway(resolving=True) as uv:
            yield uv

    @contextmanager
    def building(self) -> Iterator[Uv]:
        """Uv behind the gateway, content with the index pages that were kept."""
        self.store.open()  # What links can do is tried in it.
        with self._behind_gateway(resolving=False, more={"UV_LINK_MODE": self.link_mode}) as uv:
            yield uv

    @contextmanager
    def filling(self, program: Path) -> Iterator[Uv]:
        """A uv that is to take what was built before: kept pages do as they are."""
        self.pull.keeps = True
        try:
            with self._behind_gateway(resolving=False, program=program) as uv:
                yield uv
        finally:
            self.pull.keeps = False

    @contextmanager
    def cut_off(self, origin: CutOff | None = None) -> Iterator[Apart]:
        """Where clients run that get nothing from any network; `origin` may have some answers."""
        origin = origin or CutOff()
        with self._gateway(origin, offline=True) as variables:
            yield Apart(origin, self._folder, variables, self._python)

    @contextmanager
    def _behind_gateway(
        self,
        *,
        resolving: bool,
        program: Path | None = None,
        more: Mapping[str, str] = _NOTHING,
    ) -> Iterator[Uv]:
        self.pull.resolving = resolving
        self.pull.forget_failures()
        self.store.open()
        with self._gateway(self.pull, offline=self.pull.offline) as variables:
            try:
                given = {**variables, **self._given, **more}
                yield Uv(program or self._program, self._folder, given, self._python)
            except GpuenvError as error:
                # What kept us from answering says more than what uv made of it.
                if self.pull.failures and is_of_uv(error):
                    raise self.pull.failures[0] from None
                if (refusal := self.pull.refusal(error.causes)) and is_of_uv(error):
                    raise refusal from None
                raise
            if refusal := self.pull.refusal():
                self._note("; ".join((f"{refusal.message}, and did without", *refusal.causes)))

    @contextmanager
    def _gateway(self, origin: Origin, *, offline: bool) -> Iterator[dict[str, str]]:
        """The variables of a child behind a gateway."""
        with Gateway(origin, CertificateAuthority()) as gateway:
            variables = {
                name: value for name, value in self._variables.items() if name not in BYPASSES
            }
            proxy = git.setting(self._folder, self._variables, "http.proxy")
            variables |= git_variables(self._variables, proxy, offline=offline)
            variables |= gateway.variables
            if settings := self._settings(gateway.folder):
                file = gateway.folder / "uv.toml"
                file.write_text(settings, encoding="utf-8")
                variables["UV_CONFIG_FILE"] = str(file)
            yield variables


@dataclass(frozen=True, slots=True)
class Apart:
    """A place without a network: what was asked for in it, and the clients that work there."""

    origin: CutOff
    folder: Path
    variables: Mapping[str, str]
    python: str | None

    def uv(self, program: Path) -> Uv:
        """A uv in it."""
        return Uv(program, self.folder, self.variables, self.python)
