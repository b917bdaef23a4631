"""uv with and without the gateway, for one project and one command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from provisioner.adapters import uv_settings
from provisioner.adapters.certificates import CertificateAuthority
from provisioner.adapters.gateway import BYPASSES, Gateway
from provisioner.adapters.http import Http
from provisioner.adapters.uv import Uv
from provisioner.errors import ToolError
from provisioner.workflow.pull import FILES_AT_ONCE, Pull

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from provisioner.adapters.store import Store
    from provisioner.workflow.job import Job


@contextmanager
def open_workshop(job: Job, store: Store) -> Iterator[Workshop]:
    """The workshop of a job, and the connections that it needs."""
    world = job.world
    where = (world.variables, world.home, job.place.folder)
    http = Http(
        {**world.variables, **uv_settings.proxies(*where)},
        connections=2 * FILES_AT_ONCE,
        credentials=uv_settings.index_credentials(*where),
    )
    pull = Pull(
        store,
        http,
        (index for candidate in job.candidates for index in candidate.profile.indexes),
        world.progress,
        offline=job.options.offline,
    )
    try:
        yield Workshop(
            job.program,
            job.place.folder,
            world.variables,
            pull,
            settings=uv_settings.without_proxies(*where),
        )
    finally:
        http.close()


def git_variables(variables: Mapping[str, str], *, offline: bool) -> dict[str, str]:
    """Let git, which uv runs for git sources, go the user's own way past the gateway.

    The gateway speaks for package indexes only. Offline, git may read local repositories.
    """
    names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    proxy = next((variables[name] for name in names if variables.get(name)), "")
    given = variables.get("GIT_CONFIG_COUNT", "")
    count = int(given) if given.isdigit() else 0
    settings = {
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": "http.proxy",
        f"GIT_CONFIG_VALUE_{count}": proxy,
    }
    return settings | ({"GIT_ALLOW_PROTOCOL": "file"} if offline else {})


class Workshop:
    """Where uv works. The gateway costs a certificate, so it opens when it is needed.

    `settings` is the text of a `uv.toml` that takes the place of the user's files, where
    these would lead uv past the gateway.
    """

    def __init__(
        self,
        program: Path,
        folder: Path,
        variables: Mapping[str, str],
        pull: Pull,
        *,
        settings: str | None = None,
    ) -> None:
        self._settings = settings
        self._program = program
        self._folder = folder
        self._variables = variables
        self.pull = pull
        self.store = pull.store

    @property
    def offline(self) -> Uv:
        """Uv without any network, for what needs none."""
        return Uv(self._program, self._folder, {**self._variables, "UV_OFFLINE": "1"})

    @contextmanager
    def resolving(self) -> Iterator[Uv]:
        """Uv behind the gateway, seeing index pages as they are now."""
        with self._behind_gateway(resolving=True) as uv:
            yield uv

    @contextmanager
    def building(self) -> Iterator[Uv]:
        """Uv behind the gateway, content with the index pages that were kept."""
        with self._behind_gateway(resolving=False) as uv:
            yield uv

    @contextmanager
    def _behind_gateway(self, *, resolving: bool) -> Iterator[Uv]:
        self.pull.resolving = resolving
        self.pull.failures.clear()
        self.store.open()
        with Gateway(self.pull, CertificateAuthority()) as gateway:
            variables = {
                name: value for name, value in self._variables.items() if name not in BYPASSES
            }
            variables |= git_variables(self._variables, offline=self.pull.offline)
            variables |= gateway.variables
            if self._settings is not None:
                file = gateway.folder / "uv.toml"
                file.write_text(self._settings, encoding="utf-8")
                variables["UV_CONFIG_FILE"] = str(file)
            try:
                yield Uv(self._program, self._folder, variables)
            except ToolError:
                # What kept us from answering says more than what uv made of it.
                if self.pull.failures:
                    raise self.pull.failures[0] from None
                raise
