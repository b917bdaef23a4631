"""`gpuenv env`: variables that point clients at the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli.commands import common_of_store, gpuenv

if TYPE_CHECKING:
    from provisioner.cli.commands import Session
    from provisioner.core.shell import Form


@gpuenv.command()
@click.option("--url", metavar="URL", help="The index [default: that of `gpuenv serve` here].")
@click.option("--uv", is_flag=True, help="Point uv at it too: its locks will name it.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Put the token into the URLs [variable: GPUENV_SERVE_TOKEN].",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["sh", "fish", "dotenv"]),
    default="sh",
    help="For which program [default: sh].",
)
@common_of_store()
def env(
    session: Session, *, url: str | None, uv: bool, token_file: Path | None, form: Form
) -> None:
    """Print the variables that point clients at `gpuenv serve`.

    In a shell: eval "$(gpuenv env)".
    """
    from provisioner.core.shell import assignments
    from provisioner.workflow.client_variables import serve_variables
    from provisioner.workflow.serve import read_token

    token = read_token(session.world.variables, token_file)
    variables = serve_variables(session.world, session.options, url=url, token=token, uv=uv)
    session.show({"variables": variables}, assignments(variables, form))
