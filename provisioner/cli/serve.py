"""`gpuenv serve`: the store as a package index."""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from provisioner.cli.commands import common_of_store, gpuenv, without_json
from provisioner.core.address import HOST, PORT
from provisioner.workflow.progress import Quiet

if TYPE_CHECKING:
    from provisioner.cli.commands import Session
    from provisioner.workflow.serve import Serving


@gpuenv.command()
@click.option("--host", default=HOST, help=f"The address to listen on [default: {HOST}].")
@click.option(
    "--port",
    default=PORT,
    type=click.IntRange(0, 65535),
    help=f"The port; 0 takes a free one [default: {PORT}].",
)
@click.option(
    "--name", "names", metavar="HOST", multiple=True, help="A further name that clients use."
)
@click.option(
    "--index",
    "indexes",
    metavar="URL",
    multiple=True,
    help="An index to ask, instead of those that uv and pip are set to; several in their order.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the token is that clients have to show [variable with the token itself: "
    "GPUENV_SERVE_TOKEN]; at least 16 characters; for "
    "others than this machine there always is one.",
)
@without_json
@common_of_store("project", profile="Let this profile say which index has its packages.")
def serve(  # noqa: PLR0913 - an option each
    session: Session,
    *,
    host: str,
    port: int,
    names: tuple[str, ...],
    indexes: tuple[str, ...],
    token_file: Path | None,
) -> None:
    """Serve the store as a package index, until it is ended.

    What is missing is fetched from the indexes of the project at hand, of profiles, and of uv
    and pip, once. The first line on stdout tells its URLs.
    """
    from provisioner.workflow.serve import Wanted, read_token
    from provisioner.workflow.serve import serve as verb

    log = Log(says=not session.quiet)
    world = replace(session.world, progress=log, guard=lambda: _guard(session))
    wanted = Wanted(
        host=host,
        port=port,
        names=names,
        indexes=indexes,
        token=read_token(world.variables, token_file),
    )

    def started(serving: Serving) -> None:
        click.echo(f"serving {serving.store} at {' and '.join(serving.urls)}")
        sys.stdout.flush()
        if serving.new_token:
            click.echo(f"the token for clients is {serving.new_token}", err=True)

    verb(world, session.options, wanted, started, log.note if session.verbose else None)


def _guard(session: Session) -> None:
    """End on SIGTERM and Ctrl-C without a word: a server that is told to stop has not failed."""
    session.world.guard()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: object) -> NoReturn:
    del number, frame
    raise SystemExit(0)


class Log(Quiet):
    """A line for what is fetched, and for what goes wrong; it remembers nothing else."""

    def __init__(self, *, says: bool = True) -> None:
        self._says = says
        self._changing = threading.Lock()
        self._under_way: dict[str, tuple[str, float]] = {}
        self._received: dict[str, int] = {}

    def started(self, key: str, name: str, size: int | None) -> None:
        """Begin to count."""
        del size
        with self._changing:
            self._under_way.setdefault(key, (name, time.monotonic()))

    def advanced(self, key: str, count: int) -> None:
        """Count."""
        with self._changing:
            if key in self._under_way:
                self._received[key] = self._received.get(key, 0) + count

    def finished(self, key: str) -> None:
        """Say it."""
        from provisioner.core.sizes import size_text

        with self._changing:
            name, began = self._under_way.pop(key, ("", 0.0))
            count = self._received.pop(key, 0)
        if name:
            self.note(f"fetched {name} ({size_text(count)}, {time.monotonic() - began:.1f} s)")

    def note(self, text: str) -> None:
        """Say it."""
        if self._says or text.startswith("error: "):
            click.echo(text, err=True)
