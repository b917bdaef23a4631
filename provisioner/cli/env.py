"""`gpuenv env`: variables that point clients at the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.commands import common_of_store, gpuenv
from provisioner.core.shell import FORMS, assignments
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from provisioner.cli.commands import Session
    from provisioner.core.shell import Form


@gpuenv.command()
@click.option("--url", metavar="URL", help="The index [default: that of `gpuenv serve` here].")
@click.option(
    "--pip", "statically", is_flag=True, help="For pip without a server: what the store holds."
)
@click.option("--uv", is_flag=True, help="Point uv at it too: its locks will name it.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Put the token in this file into the URLs [variable with the token itself: "
    "GPUENV_SERVE_TOKEN].",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default=FORMS[0],
    help=f"For which program [default: {FORMS[0]}].",
)
@common_of_store(without=("offline",))
def env(  # noqa: PLR0913 - a command's options
    session: Session,
    *,
    url: str | None,
    statically: bool,
    uv: bool,
    token_file: Path | None,
    form: Form,
) -> None:
    """Print variables that point clients at the server or store.

    In a shell: eval "$(gpuenv env)". After eval "$(gpuenv env --pip)" any pip installs what
    the store holds, without a server, and downloads nothing.
    """
    from provisioner.workflow.client_variables import pip_variables, serve_variables
    from provisioner.workflow.serve import read_token

    if statically:
        if url or uv or token_file:
            message = "`--pip` is about the store, and goes with no option about a server"
            raise UsageError(message)
        found = pip_variables(session.world, session.options)
        session.show({"variables": found}, assignments(found, form))
        return
    token = read_token(session.world.variables, token_file)
    variables = serve_variables(session.world, session.options, url=url, token=token, uv=uv)
    session.show({"variables": variables}, assignments(variables, form))
