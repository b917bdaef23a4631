"""Try the toggles of poetry with nothing but what `gpuenv serve` answers from the store."""

from __future__ import annotations

import tomllib
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from provisioner.adapters._origin import BodyAnswer
from provisioner.adapters.gateway import CutOff
from provisioner.adapters.poetry_program import alone_in, find_poetry, sync
from provisioner.adapters.serving import Server, is_of_others, server_behind
from provisioner.adapters.uv import SCRUBBED
from provisioner.core.poetry_lock import sources
from provisioner.core.proofs import Proof
from provisioner.core.urls import (
    is_loopback,
    is_remote,
    is_same_server,
    origin,
    without_secrets,
)
from provisioner.errors import said
from provisioner.workflow.index_routes import routes_of
from provisioner.workflow.package_index import PackageIndex
from provisioner.workflow.proof import round_trip, scratch, tried
from provisioner.workflow.workshop import open_pull

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.adapters._origin import Reply, Request
    from provisioner.workflow.job import Job
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.workshop import Workshop

_REFUSED: Final = 400
_FILES: Final = ("pyproject.toml", "poetry.lock")


def prove_poetry(
    job: Job, workshop: Workshop, locks: tuple[Locked, ...], variables: Mapping[str, str]
) -> Proof:
    """Let poetry go through all profiles, in a copy of the project and with an empty cache.

    It need not be that `gpuenv serve` runs: what it would answer offline is answered here.
    """
    found = find_poetry(variables)
    if found is None:
        return Proof(client="poetry", why="PATH has none that runs")
    program, version = found
    proof = Proof(client="poetry", version=version, program=program)
    try:
        contents = {name: (job.place.folder / name).read_bytes() for name in _FILES}
    except OSError as error:
        return replace(proof, why=f"`{error.filename}` cannot be read: {said(error)}")
    try:
        every = sources(tomllib.loads(contents["poetry.lock"].decode()))
    except ValueError as error:
        return replace(proof, why=f"`poetry.lock` is malformed: {error}")
    server = server_behind(workshop.store.root, every, offline=job.options.offline)
    if others := [url for url in every if not _is_ours(url, server)]:
        shown = ", ".join(f"`{without_secrets(url)}`" for url in others)
        return replace(proof, why=f"its lock has packages from {shown}, not from `gpuenv serve`")
    toggles = round_trip(locks)
    proof = replace(proof, toggles=tuple(locked.profile.name for locked in toggles))
    asked: list[str] = []

    def toggle() -> None:
        with ExitStack() as stack:
            folder = stack.enter_context(scratch(workshop.store))
            held = _Held(stack.enter_context(_index(job, workshop, server)), every, asked)
            apart = stack.enter_context(workshop.cut_off(held))
            own = {k: v for k, v in apart.variables.items() if k not in SCRUBBED}
            folder.mkdir(parents=True)
            for name, content in contents.items():
                (folder / name).write_bytes(content)
            workshop.offline.make_environment(folder / ".venv", Path(job.interpreter.path or ""))
            for locked in toggles:
                one = locked.candidate
                sync(
                    program,
                    version,
                    folder,
                    alone_in(folder, own),
                    extras=one.extras,
                    groups=one.groups,
                    without=one.without,
                )

    return tried(proof, asked, toggle)


class _Held(CutOff):
    """No network, but for a `gpuenv serve` that has nothing behind it."""

    def __init__(self, index: PackageIndex, urls: tuple[str, ...], asked: list[str]) -> None:
        """`asked` gets what is asked for in vain."""
        super().__init__()
        self.asked = asked
        self._index = index
        self._urls = urls

    @contextmanager
    def answer(self, request: Request) -> Iterator[Reply]:
        """Answer at the server's URLs; what it does not have counts as asked for in vain."""
        if not any(is_same_server(request.url, url) for url in self._urls):
            with super().answer(request) as refusal:
                yield refusal
            return
        with self._index.answer(replace(request, url=urlsplit(request.url).path)) as reply:
            if isinstance(reply, BodyAnswer) and reply.status >= _REFUSED:
                self.asked.append(without_secrets(request.url))
            yield reply


@contextmanager
def _index(job: Job, workshop: Workshop, server: Server | None) -> Iterator[PackageIndex]:
    """What `gpuenv serve --offline` would serve here; the one that runs may have been told more.

    Raises:
        GpuenvError: no index is left besides the server.
    """
    store, folder = workshop.store, job.place.folder
    named = server.indexes if server else ()
    routes = routes_of(job.world, job.place, job.indexes, lambda url: _is_ours(url, server), named)
    with open_pull(job.world, store, folder, job.indexes, offline=True) as pull:
        index = PackageIndex(pull, routes, lambda _: None)
        try:
            yield index
        finally:
            index.close()


def _is_ours(url: str, server: Server | None) -> bool:
    """Whether a URL is of the server of this store, or of where it would be if it ran."""
    if not is_remote(url) or not origin(url):
        return False
    if server is not None and server.is_own(url):
        return True
    parts = urlsplit(url)
    is_there = is_loopback(parts.hostname or "") and parts.path.rstrip("/") == "/simple"
    return is_there and not is_of_others(url)
